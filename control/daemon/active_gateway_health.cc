// ActiveGateway: what health reports of peers and what it was told of them, and what comes of that in tables and
// problems.
#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "control/daemon/active_gateway.h"
#include "dataplane/api/devices.h"

namespace isthmus {
namespace {

bool is_answering(const PeerHealth& peer) {
  return peer.state == PeerState::kAlive || peer.state == PeerState::kSuspect;
}

}  // namespace

void ActiveGateway::tick_health() {
  health_->tick(HealthClock::now());
  take_health_changes();
}

void ActiveGateway::take_health_changes() {
  const HealthTime due = health_->next_due();
  if (due == HealthTime::max()) {
    loop_.cancel_timer(health_timer_);
  } else {
    loop_.set_timer(health_timer_, due);
  }
  if (health_->take_changes().empty()) {
    return;
  }
  in_turn({[this, reachability = reachability()] {
    compiler_->set_reachability(reachability);
    apply();
  }});
}

Reachability ActiveGateway::reachability() const {
  Reachability reachability;
  reachability.down_peers = health_->unusable_peers();
  reachability.left_peers = health_->left_peers();
  for (const UnreachableCluster& cluster : health_->unreachable_clusters()) {
    if (cluster.ejected) {
      reachability.ejected_clusters.push_back(cluster.cluster);
    }
  }
  reachability.draining_clusters = health_->draining_clusters();
  return reachability;
}

void ActiveGateway::remember(const KnownPeers& known) {
  health_->remember(known.peers, HealthClock::now());
  path_mtus_->remember(known.paths, HealthClock::now());
  if (published_) {
    take_health_changes();
    take_path_mtus();
  }
}

KnownPeers ActiveGateway::known_peers() const { return {health_->known(HealthClock::now()), path_mtus_->known()}; }

ActiveGateway::Ways ActiveGateway::ways_of_peers() const {
  Ways ways;
  for (const PeerHealth& peer : health_->peers()) {
    const ProbeSaid said = is_answering(peer) ? node_.engine->probe_said(peer.peer.id) : ProbeSaid::kNothing;
    if (said != ProbeSaid::kNothing) {
      (said == ProbeSaid::kAnother ? ways.elsewhere : ways.here).push_back(peer.peer.gateway);
    }
  }
  return ways;
}

bool ActiveGateway::answers(const std::string& gateway) const {
  const std::vector<PeerHealth> peers = health_->peers();
  return std::any_of(peers.begin(), peers.end(),
                     [&](const PeerHealth& peer) { return peer.peer.gateway == gateway && is_answering(peer); });
}

std::set<std::string> ActiveGateway::answering() const {
  std::set<std::string> gateways;
  for (const PeerHealth& peer : health_->peers()) {
    if (is_answering(peer)) {
      gateways.insert(peer.peer.gateway);
    }
  }
  return gateways;
}

void ActiveGateway::leave_known_peers() {
  if (health_->take_changes().empty()) {
    return;
  }
  compiler_->set_reachability(reachability());
  CompileResult known = compiler_->compile({});
  publish(known);
}

void ActiveGateway::list_health_problems() {
  std::vector<Error> unreachable;
  for (const PeerHealth& peer : health_->peers()) {
    if (peer.state == PeerState::kUnreachable && peer.draining) {
      unreachable.push_back({"the gateway was drained and has ended: it gets nothing until it is started again",
                             "peer " + peer.peer.gateway, "start it, or delete its Gateway object"});
    } else if (peer.state == PeerState::kUnreachable && peer.last_answer == HealthTime()) {
      unreachable.push_back({"the gateway has not answered a probe yet, as others of its cluster do: it gets no flows",
                             "peer " + peer.peer.gateway, "start it, or delete its Gateway object"});
    } else if (peer.state == PeerState::kUnreachable) {
      unreachable.push_back({"the gateway no longer answers probes and gets no new flows", "peer " + peer.peer.gateway,
                             "check that it is up and that UDP passes between the underlay addresses"});
    }
  }
  if (health_->isolated()) {
    unreachable.push_back({"all peers became unreachable at once: our own link is suspected, all stay in use", "health",
                           "check the underlay device and its routes"});
  }
  problems_.set("health", unreachable);
}

void ActiveGateway::list_path_problems() {
  const auto views = path_mtus_->views();
  std::vector<Error> holes;
  for (const PeerHealth& peer : health_->peers()) {
    const auto path = views.find(peer.peer.id);
    if (path == views.end() || !path->second.black_hole) {
      continue;
    }
    const std::uint32_t carries = path->second.mtu.value();
    const std::string lost = "the path carries underlay packets of " + std::to_string(carries) +
                             " bytes, and loses those of " + std::to_string(carries + 1) + " and more, of the " +
                             std::to_string(underlay_mtu_.value()) + " that the device sends: no router has said so";
    holes.push_back({lost, "peer " + peer.peer.gateway,
                     "let ICMP (fragmentation needed, packet too big) pass on the way, and raise the MTU of the link "
                     "that is the smallest, or lower that of the underlay device; see that the peer's device takes as "
                     "much (its MTU; more than " +
                         std::to_string(kMaxAfXdpPacket.value()) +
                         " bytes on Linux 6.6 or later, where it was so at its gateway's start); this gateway keeps to "
                         "what the path carries, clamps TCP's MSS, and tells its senders"});
  }
  problems_.set("paths", holes);
}

}  // namespace isthmus
