#include "control/health/health.h"

#include <algorithm>
#include <set>
#include <utility>

namespace isthmus {
namespace {

constexpr unsigned kMaxMisses = 16;
constexpr std::chrono::nanoseconds kMinInterval = std::chrono::milliseconds(1);

HealthOptions in_range(HealthOptions options) {
  options.interval = std::max(options.interval, kMinInterval);
  options.misses = std::clamp(options.misses, 1U, kMaxMisses);
  options.recover = std::max(options.recover, 1U);
  options.penalty_cap = std::max(options.penalty_cap, 1U);
  return options;
}

}  // namespace

Health::Health(const HealthOptions& options, Send send)
    : options_(in_range(options)), send_(std::move(send)), random_(options.seed) {}

void Health::set_peers(std::span<const HealthPeer> peers, HealthTime now) {
  std::map<PeerId, Peer> next;
  for (const HealthPeer& wanted : peers) {
    if (const auto known = peers_.find(wanted.id); known != peers_.end() && known->second.peer == wanted) {
      next.insert(peers_.extract(known));
      continue;
    }
    Peer peer;
    peer.peer = wanted;
    peer.since = now;
    peer.due = now + std::chrono::nanoseconds(random_() % static_cast<std::uint64_t>(options_.interval.count()));
    // Not from 1: an answer to a probe of an earlier process must not fit.
    peer.sent = peer.answered = static_cast<std::uint32_t>(random_());
    next.emplace(wanted.id, std::move(peer));
  }
  peers_ = std::move(next);
  resolve_suspects(now);
  update_clusters(now);
}

void Health::tick(HealthTime now) {
  for (auto& [id, peer] : peers_) {
    if (peer.due <= now) {
      visit(peer, now);
    }
  }
  resolve_suspects(now);
  update_clusters(now);
}

void Health::visit(Peer& peer, HealthTime now) {
  if (!peer.postponed && now - peer.due > options_.interval) {
    peer.postponed = true;
    peer.due = now + options_.interval / 4;
    return;
  }
  if (peer.state == PeerState::kAlive && peer.missed() >= options_.misses) {
    enter(peer, PeerState::kSuspect, now);
    peer.witness_from = peer.sent_at[(peer.answered + 1) % kWindow] + peer.round_trip + options_.interval / 2;
  }
  if (peer.state == PeerState::kSuspect) {
    extend_silence(peer, now);
  }
  if (peer.state == PeerState::kAlive && peer.penalty > 1 && now - peer.penalty_since >= options_.forgive) {
    peer.penalty /= 2;
    peer.penalty_since = now;
  }
  probe(peer, now);
}

// A witness speaks for the time between the first missed probe, when its answer was due, and the last one that an
// answer was due for: what went wrong before or after may have been our own link.
void Health::extend_silence(Peer& peer, HealthTime now) const {
  const HealthTime due_if_sent_by = now - peer.round_trip - options_.interval / 2;
  const unsigned known = std::min(peer.missed(), kWindow);
  for (std::uint32_t back = 0; back < known; ++back) {
    const HealthTime sent = peer.sent_at[(peer.sent - back) % kWindow];
    if (sent <= due_if_sent_by) {
      peer.witness_until = sent;
      return;
    }
  }
  peer.witness_until = HealthTime::min();
}

void Health::probe(Peer& peer, HealthTime now) {
  ++peer.sent;
  peer.sent_at[peer.sent % kWindow] = now;
  peer.proven[peer.sent % kWindow] = false;
  peer.postponed = false;
  peer.due = now + jittered();
  send_(peer.peer.id, peer.sent);
}

void Health::answer(PeerId id, std::uint32_t sequence, HealthTime now) {
  const auto found = peers_.find(id);
  if (found == peers_.end()) {
    return;
  }
  Peer& peer = found->second;
  // Distances, so that the numbers may wrap: what is expected lies in (answered, sent].
  const std::uint32_t ahead = sequence - peer.answered;
  const std::uint32_t behind = peer.sent - sequence;
  if (ahead == 0 || ahead > peer.missed() || behind >= options_.misses) {
    ++peer.late_answers;
    return;
  }
  peer.answered = sequence;
  peer.proven[sequence % kWindow] = true;
  peer.last_answer = now;
  peer.round_trip = std::max(now - peer.sent_at[sequence % kWindow], std::chrono::nanoseconds(1));
  if (isolated_) {
    leave_isolation(now);
  }
  if (peer.state == PeerState::kSilent) {
    count_towards_return(peer, sequence, now);
  } else if (peer.state != PeerState::kAlive) {
    enter(peer, PeerState::kAlive, now);
  }
  resolve_suspects(now);
  update_clusters(now);
}

void Health::count_towards_return(Peer& peer, std::uint32_t sequence, HealthTime now) {
  peer.streak = peer.streak != 0 && sequence == peer.streak_end + 1 ? peer.streak + 1 : 1;
  peer.streak_end = sequence;
  if (peer.streak >= peer.needed) {
    enter(peer, PeerState::kAlive, now);
    peer.penalty_since = now;
    changes_.returned.push_back(peer.peer.id);
  }
}

bool Health::has_witness(const Peer& suspect) const {
  return std::any_of(peers_.begin(), peers_.end(), [&suspect](const auto& entry) {
    const Peer& other = entry.second;
    for (unsigned i = 0; i < kWindow && other.peer.id != suspect.peer.id; ++i) {
      if (other.proven[i] && other.sent_at[i] >= suspect.witness_from && other.sent_at[i] <= suspect.witness_until) {
        return true;
      }
    }
    return false;
  });
}

void Health::resolve_suspects(HealthTime now) {
  std::vector<Peer*> suspects;
  std::set<ClusterId> clusters;
  bool anybody_heard = false;
  for (auto& [id, peer] : peers_) {
    if (peer.state == PeerState::kSuspect && has_witness(peer)) {
      fall(peer, now);
    } else if (peer.state == PeerState::kSuspect) {
      suspects.push_back(&peer);
      clusters.insert(peer.peer.cluster);
    }
    anybody_heard = anybody_heard || peer.state == PeerState::kAlive;
  }
  if (suspects.empty()) {
    set_isolated(false, now);
  } else if (!anybody_heard && !isolated_) {
    if (clusters.size() > 1) {
      set_isolated(true, now);
    } else {
      for (Peer* peer : suspects) {
        fall(*peer, now);
      }
    }
  }
}

void Health::fall(Peer& peer, HealthTime now) {
  enter(peer, PeerState::kSilent, now);
  ++peer.falls;
  peer.streak = 0;
  peer.needed = options_.recover * peer.penalty;
  peer.penalty = std::min(peer.penalty * 2, options_.penalty_cap);
  changes_.fell.push_back(peer.peer.id);
}

void Health::enter(Peer& peer, PeerState state, HealthTime now) {
  peer.state = state;
  peer.since = now;
}

void Health::set_isolated(bool isolated, HealthTime now) {
  if (isolated_ != isolated) {
    isolated_ = isolated;
    isolated_since_ = now;
    changes_.isolation_changed = true;
  }
}

// All were cut off together and will be heard again together, but not in one instant: each gets the full count anew.
void Health::leave_isolation(HealthTime now) {
  set_isolated(false, now);
  for (auto& [id, peer] : peers_) {
    if (peer.state == PeerState::kSuspect) {
      peer.answered = peer.sent;
      enter(peer, PeerState::kAlive, now);
    }
  }
}

void Health::update_clusters(HealthTime now) {
  std::map<ClusterId, bool> silent;
  for (const auto& [id, peer] : peers_) {
    if (peer.peer.cluster != options_.cluster) {
      bool& all = silent.try_emplace(peer.peer.cluster, true).first->second;
      all = all && peer.state == PeerState::kSilent;
    }
  }
  for (auto at = silent_clusters_.begin(); at != silent_clusters_.end();) {
    const auto still = silent.find(at->first);
    if (still == silent.end() || !still->second) {
      changes_.clusters_returned.push_back(at->first);
      at = silent_clusters_.erase(at);
    } else {
      ++at;
    }
  }
  for (const auto& [cluster, all] : silent) {
    if (!all) {
      continue;
    }
    const auto [at, fresh] = silent_clusters_.try_emplace(cluster, SilentCluster{cluster, now, false});
    if (fresh) {
      changes_.clusters_fell.push_back(cluster);
    }
    if (!at->second.held_out && now - at->second.since >= options_.hold) {
      at->second.held_out = true;
      changes_.clusters_held_out.push_back(cluster);
    }
  }
}

HealthTime Health::next_due() const {
  HealthTime next = HealthTime::max();
  for (const auto& [id, peer] : peers_) {
    next = std::min(next, peer.due);
  }
  for (const auto& [id, cluster] : silent_clusters_) {
    if (!cluster.held_out) {
      next = std::min(next, cluster.since + options_.hold);
    }
  }
  return next;
}

bool Health::usable(PeerId id) const {
  const auto found = peers_.find(id);
  return found == peers_.end() || found->second.state != PeerState::kSilent;
}

std::vector<PeerId> Health::silent_peers() const {
  std::vector<PeerId> silent;
  for (const auto& [id, peer] : peers_) {
    if (peer.state == PeerState::kSilent) {
      silent.push_back(id);
    }
  }
  return silent;
}

std::vector<SilentCluster> Health::silent_clusters() const {
  std::vector<SilentCluster> silent;
  for (const auto& [id, cluster] : silent_clusters_) {
    silent.push_back(cluster);
  }
  return silent;
}

std::vector<PeerHealth> Health::peers() const {
  std::vector<PeerHealth> all;
  for (const auto& [id, peer] : peers_) {
    const bool silent = peer.state == PeerState::kSilent;
    all.push_back({.peer = peer.peer,
                   .state = peer.state,
                   .since = peer.since,
                   .missed = peer.missed(),
                   .answers_needed = silent ? peer.needed - std::min(peer.streak, peer.needed) : 0,
                   .penalty = peer.penalty,
                   .falls = peer.falls,
                   .late_answers = peer.late_answers,
                   .round_trip = peer.round_trip,
                   .last_answer = peer.last_answer});
  }
  return all;
}

HealthChanges Health::take_changes() { return std::exchange(changes_, {}); }

std::chrono::nanoseconds Health::jittered() {
  constexpr std::int64_t kPart = 10;  // +-1/10
  const std::int64_t width = options_.interval.count() / kPart;
  const auto offset = static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(2 * width + 1)) - width;
  return options_.interval + std::chrono::nanoseconds(offset);
}

}  // namespace isthmus
