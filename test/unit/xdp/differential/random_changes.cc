// What changes of a fleet while its traffic flows.
#include <algorithm>
#include <iterator>

#include "test/unit/dataplane/policy_builder.h"
#include "test/unit/xdp/differential/random_fleet.h"

namespace isthmus::test {
namespace {

constexpr std::uint32_t kFirstSelector = 1;

}  // namespace

// Own pods' policies allow and deny some of the others, by identity and port.
void RandomFleet::choose_policies(Dice& dice, TableDelta& delta) const {
  PolicyDelta policies;
  std::vector<std::uint32_t> some;
  for (const FleetPod& pod : pods_) {
    if (!dice.one_in(8)) {
      some.push_back(pod.identity);
    }
  }
  std::sort(some.begin(), some.end());
  some.erase(std::unique(some.begin(), some.end()), some.end());
  policies.select(kFirstSelector, some);
  const auto direction = [&] {
    if (dice.one_in(3)) {
      return DirectionPolicy{};
    }
    std::vector<PolicyEntry> entries{allow(kFirstSelector)};
    if (dice.one_in(8)) {
      const auto port = static_cast<std::uint16_t>(8000 + dice.below(pods_.size()));
      entries.push_back(deny(kFirstSelector, kAnyProtocol, port, port));
    }
    return enforced(entries);
  };
  for (const FleetPod& pod : pods_) {
    if (pod.cluster == ClusterId{1} && !dice.one_in(4)) {
      policies.egress(pod.identity, direction()).ingress(pod.identity, direction());
    }
  }
  delta.upsert_selectors = policies.delta.upsert_selectors;
  delta.upsert_policies = policies.delta.upsert_policies;
}

void RandomFleet::change(Dice& dice) {
  switch (dice.below(7)) {
    case 0: {
      TableDelta delta;
      choose_policies(dice, delta);
      return publish(delta);
    }
    case 1:
      return change_endpoint(dice);
    case 2:
      return change_peer(dice);
    case 3:
      return change_next_hop(dice);
    case 4:
      return change_mtu(dice);
    case 5: {
      TableDelta delta;
      delta.upsert_frontends.push_back(frontend(dice.of(services_), dice));
      return publish(delta);
    }
    default: {  // nothing that matters, but every decision is looked at again
      TableDelta delta;
      delta.local_routes = routes();
      delta.clusters = clusters();
      return publish(delta);
    }
  }
}

// A pod goes or gets another identity, or is as it was.
void RandomFleet::change_endpoint(Dice& dice) {
  const FleetPod& pod = dice.of(pods_);
  if (dice.one_in(4)) {
    return engine_->remove_endpoints(Realm{0}, {&pod.address, 1});
  }
  const PeerId node = pod.home == PodHome::kRemoteNode ? sender_of(pod.home, dice)->id : kNoPeer;
  const std::uint32_t identity = dice.one_in(2) ? pod.identity : pod.identity + 1;
  const EndpointEntry entry{Realm{0}, pod.address, pod.cluster, Identity{identity}, node};
  engine_->upsert_endpoints({&entry, 1});
}

// A peer is reached by another next hop, or as another kind, or sends as another one.
void RandomFleet::change_peer(Dice& dice) {
  auto at = peers_.begin();
  std::advance(at, static_cast<std::ptrdiff_t>(dice.below(peers_.size())));
  PeerEntry& peer = at->second;
  const EncapsulationKind other = dice.of(tunnel_kinds());
  switch (dice.below(4)) {
    case 0:
      peer.adjacency = dice.of(underlay_hops_);
      break;
    case 1:
      peer.kind = other;
      peer.udp_port = encapsulation_info(other).default_port;
      break;
    case 2:
      peer.from_kind = other;
      break;
    default:
      peer.udp_port = L4Port{static_cast<std::uint16_t>(peer.udp_port.value() ^ 1)};
      break;
  }
  TableDelta delta;
  delta.upsert_peers.push_back(peer);
  publish(delta);
}

// A MAC address moves, is lost, or comes again.
void RandomFleet::change_next_hop(Dice& dice) {
  const AdjacencyId hop = dice.one_in(2) ? dice.of(underlay_hops_) : dice.of(local_hops_);
  const MacAddress mac{{2, 0xb, 0, 0, 0, static_cast<std::uint8_t>(dice.below(4))}};
  engine_->set_adjacency(hop, dice.one_in(4) ? std::nullopt : std::optional(mac));
}

void RandomFleet::change_mtu(Dice& dice) {
  constexpr std::uint32_t kMtus[] = {1400, 1450, 1500, 2000, 3000};
  dice.of(devices_)->memory().set_mtu(Bytes{dice.of(kMtus)});
  static_cast<void>(engine_->check_devices());
}

}  // namespace isthmus::test
