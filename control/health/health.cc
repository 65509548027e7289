#include "control/health/health.h"

#include <algorithm>
#include <set>
#include <utility>

namespace isthmus {
namespace {

constexpr std::chrono::nanoseconds kMinInterval = std::chrono::milliseconds(1);

HealthOptions in_range(HealthOptions options) {
  options.interval = std::max(options.interval, kMinInterval);
  options.misses = std::clamp(options.misses, 1U, kMaxHealthMisses);
  options.recover = std::max(options.recover, 1U);
  options.penalty_cap = std::max(options.penalty_cap, 1U);
  return options;
}

}  // namespace

Health::Health(const HealthOptions& options, Send send)
    : options_(in_range(options)), send_(std::move(send)), random_(options.seed) {}

void Health::set_peers(std::span<const HealthPeer> peers, HealthTime now) {
  std::map<PeerId, Peer> next;
  for (const HealthPeer& desired : peers) {
    if (const auto current = peers_.find(desired.id); current != peers_.end() && current->second.peer == desired) {
      next.insert(peers_.extract(current));
      continue;
    }
    Peer peer;
    peer.peer = desired;
    peer.since = now;
    peer.due = now + std::chrono::nanoseconds(random_() % static_cast<std::uint64_t>(options_.interval.count()));
    // Starts at random: an answer to a probe of an earlier process must not match.
    peer.sent = peer.answered = static_cast<std::uint32_t>(random_());
    next.emplace(desired.id, std::move(peer));
  }
  peers_ = std::move(next);
  resolve_suspects(now);
  update_clusters(now);
}

void Health::tick(HealthTime now) {
  for (auto& [id, peer] : peers_) {
    if (peer.due <= now) {
      check_and_probe(peer, now);
    }
  }
  resolve_suspects(now);
  update_clusters(now);
}

void Health::check_and_probe(Peer& peer, HealthTime now) {
  if (!peer.postponed && now - peer.due > options_.interval) {
    peer.postponed = true;
    peer.due = now + options_.interval / 4;
    return;
  }
  if (peer.state == PeerState::kAlive && peer.missed() >= options_.misses) {
    set_state(peer, PeerState::kSuspect, now);
    peer.confirmed_from = peer.sent_at[(peer.answered + 1) % kWindow] + peer.round_trip + options_.interval / 2;
  }
  if (peer.state == PeerState::kSuspect) {
    extend_confirmation_window(peer, now);
  }
  if (peer.state == PeerState::kAlive && peer.penalty > 1 && now - peer.penalty_since >= options_.penalty_decay) {
    peer.penalty /= 2;
    peer.penalty_since = now;
  }
  probe(peer, now);
}

// Another peer confirms only by a probe sent between the time the answer to the first missed probe was due and the
// last probe whose answer is overdue: what failed before or after that may have been our own link.
void Health::extend_confirmation_window(Peer& peer, HealthTime now) const {
  const HealthTime due_if_sent_by = now - peer.round_trip - options_.interval / 2;
  const unsigned remembered = std::min(peer.missed(), kWindow);
  for (std::uint32_t back = 0; back < remembered; ++back) {
    const HealthTime sent = peer.sent_at[(peer.sent - back) % kWindow];
    if (sent <= due_if_sent_by) {
      peer.confirmed_until = sent;
      return;
    }
  }
  peer.confirmed_until = HealthTime::min();
}

void Health::probe(Peer& peer, HealthTime now) {
  peer.postponed = false;
  peer.due = now + jittered();
  if (!send_(peer.peer.id, peer.sent + 1)) {
    return;
  }
  ++peer.sent;
  peer.sent_at[peer.sent % kWindow] = now;
  peer.was_answered[peer.sent % kWindow] = false;
}

void Health::answer(PeerId id, std::uint32_t sequence, HealthTime now) {
  const auto found = peers_.find(id);
  if (found == peers_.end()) {
    return;
  }
  Peer& peer = found->second;
  // Compared by distance, because sequence numbers wrap: expected are those in (answered, sent].
  const std::uint32_t ahead = sequence - peer.answered;
  const std::uint32_t behind = peer.sent - sequence;
  if (ahead == 0 || ahead > peer.missed() || behind >= options_.misses) {
    ++peer.late_answers;
    return;
  }
  peer.answered = sequence;
  peer.was_answered[sequence % kWindow] = true;
  peer.last_answer = now;
  peer.round_trip = std::max(now - peer.sent_at[sequence % kWindow], std::chrono::nanoseconds(1));
  if (isolated_) {
    leave_isolation(now);
  }
  if (peer.state == PeerState::kUnreachable) {
    count_towards_recovery(peer, sequence, now);
  } else if (peer.state != PeerState::kAlive) {
    set_state(peer, PeerState::kAlive, now);
  }
  resolve_suspects(now);
  update_clusters(now);
}

void Health::count_towards_recovery(Peer& peer, std::uint32_t sequence, HealthTime now) {
  peer.streak = peer.streak != 0 && sequence == peer.streak_end + 1 ? peer.streak + 1 : 1;
  peer.streak_end = sequence;
  if (peer.streak >= peer.needed) {
    set_state(peer, PeerState::kAlive, now);
    peer.penalty_since = now;
    changes_.peers_recovered.push_back(peer.peer.id);
  }
}

bool Health::is_confirmed(const Peer& suspect) const {
  return std::any_of(peers_.begin(), peers_.end(), [&suspect](const auto& entry) {
    const Peer& other = entry.second;
    for (unsigned i = 0; i < kWindow && other.peer.id != suspect.peer.id; ++i) {
      if (other.was_answered[i] && other.sent_at[i] >= suspect.confirmed_from &&
          other.sent_at[i] <= suspect.confirmed_until) {
        return true;
      }
    }
    return false;
  });
}

void Health::resolve_suspects(HealthTime now) {
  std::vector<Peer*> suspects;
  std::set<ClusterId> clusters;
  bool any_alive = false;
  for (auto& [id, peer] : peers_) {
    if (peer.state == PeerState::kSuspect && is_confirmed(peer)) {
      mark_unreachable(peer, now);
    } else if (peer.state == PeerState::kSuspect) {
      suspects.push_back(&peer);
      clusters.insert(peer.peer.cluster);
    }
    any_alive = any_alive || peer.state == PeerState::kAlive;
  }
  if (suspects.empty()) {
    set_isolated(false, now);
  } else if (!any_alive && !isolated_) {
    if (clusters.size() > 1) {
      set_isolated(true, now);
    } else {
      for (Peer* peer : suspects) {
        mark_unreachable(*peer, now);
      }
    }
  }
}

void Health::mark_unreachable(Peer& peer, HealthTime now) {
  set_state(peer, PeerState::kUnreachable, now);
  ++peer.failures;
  peer.streak = 0;
  peer.needed = options_.recover * peer.penalty;
  peer.penalty = std::min(peer.penalty * 2, options_.penalty_cap);
  changes_.peers_down.push_back(peer.peer.id);
}

void Health::set_state(Peer& peer, PeerState state, HealthTime now) {
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

// All peers were cut off together and come back together, but not at the same instant: each may miss the full count
// again.
void Health::leave_isolation(HealthTime now) {
  set_isolated(false, now);
  for (auto& [id, peer] : peers_) {
    if (peer.state == PeerState::kSuspect) {
      peer.answered = peer.sent;
      set_state(peer, PeerState::kAlive, now);
    }
  }
}

void Health::update_clusters(HealthTime now) {
  std::map<ClusterId, bool> all_unreachable;
  for (const auto& [id, peer] : peers_) {
    if (peer.peer.cluster != options_.cluster) {
      bool& all = all_unreachable.try_emplace(peer.peer.cluster, true).first->second;
      all = all && peer.state == PeerState::kUnreachable;
    }
  }
  for (auto at = unreachable_clusters_.begin(); at != unreachable_clusters_.end();) {
    const auto still = all_unreachable.find(at->first);
    if (still == all_unreachable.end() || !still->second) {
      changes_.clusters_recovered.push_back(at->first);
      at = unreachable_clusters_.erase(at);
    } else {
      ++at;
    }
  }
  for (const auto& [cluster, all] : all_unreachable) {
    if (!all) {
      continue;
    }
    const auto [at, inserted] = unreachable_clusters_.try_emplace(cluster, UnreachableCluster{cluster, now, false});
    if (inserted) {
      changes_.clusters_down.push_back(cluster);
    }
    if (!at->second.ejected && now - at->second.since >= options_.hold) {
      at->second.ejected = true;
      changes_.clusters_ejected.push_back(cluster);
    }
  }
}

HealthTime Health::next_due() const {
  HealthTime next = HealthTime::max();
  for (const auto& [id, peer] : peers_) {
    next = std::min(next, peer.due);
  }
  for (const auto& [id, cluster] : unreachable_clusters_) {
    if (!cluster.ejected) {
      next = std::min(next, cluster.since + options_.hold);
    }
  }
  return next;
}

bool Health::usable(PeerId id) const {
  const auto found = peers_.find(id);
  return found == peers_.end() || found->second.state != PeerState::kUnreachable;
}

std::vector<PeerId> Health::unreachable_peers() const {
  std::vector<PeerId> unreachable;
  for (const auto& [id, peer] : peers_) {
    if (peer.state == PeerState::kUnreachable) {
      unreachable.push_back(id);
    }
  }
  return unreachable;
}

std::vector<UnreachableCluster> Health::unreachable_clusters() const {
  std::vector<UnreachableCluster> unreachable;
  for (const auto& [id, cluster] : unreachable_clusters_) {
    unreachable.push_back(cluster);
  }
  return unreachable;
}

std::vector<PeerHealth> Health::peers() const {
  std::vector<PeerHealth> all;
  for (const auto& [id, peer] : peers_) {
    const bool unreachable = peer.state == PeerState::kUnreachable;
    all.push_back({.peer = peer.peer,
                   .state = peer.state,
                   .since = peer.since,
                   .missed = peer.missed(),
                   .answers_needed = unreachable ? peer.needed - std::min(peer.streak, peer.needed) : 0,
                   .penalty = peer.penalty,
                   .failures = peer.failures,
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
