#include "control/health/health.h"

#include <algorithm>
#include <set>
#include <utility>

#include "dataplane/api/engine.h"

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
    // Starts at random: an answer to a probe of an earlier process must not match. Far from where sized probes begin.
    peer.sent = peer.answered = static_cast<std::uint32_t>(random_()) % (kSizedProbe / 2);
    if (recall(peer, now) && peer.state == PeerState::kUnreachable) {
      changes_.peers_down.push_back(desired.id);
    }
    next.emplace(desired.id, std::move(peer));
  }
  peers_ = std::move(next);
  resolve_suspects(now);
  update_clusters(now);
}

void Health::remember(std::span<const KnownPeer> known, HealthTime now) {
  for (const KnownPeer& each : known) {
    remembered_[{each.cluster, each.gateway}] = each;
  }
  for (auto& [id, peer] : peers_) {
    if (peer.tried) {
      remembered_.erase({peer.peer.cluster, peer.peer.gateway});
    }
    const bool was_unreachable = peer.state == PeerState::kUnreachable;
    if (recall(peer, now) && was_unreachable != (peer.state == PeerState::kUnreachable)) {
      (was_unreachable ? changes_.peers_recovered : changes_.peers_down).push_back(id);
    }
  }
  update_clusters(now);
}

// False: nothing is known of it.
bool Health::recall(Peer& peer, HealthTime now) const {
  const auto found = remembered_.find({peer.peer.cluster, peer.peer.gateway});
  if (found == remembered_.end()) {
    return false;
  }
  const KnownPeer& known = found->second;
  set_state(peer, known.unreachable ? PeerState::kUnreachable : PeerState::kAlive, now);
  peer.draining = known.draining;
  peer.streak = 0;
  peer.needed = std::clamp(known.answers_needed, 1U, options_.recover * options_.penalty_cap);
  peer.penalty = std::clamp(known.penalty, 1U, options_.penalty_cap);
  peer.penalty_since = now;
  peer.round_trip = known.round_trip;
  peer.last_answer = known.silent ? now - *known.silent : HealthTime();
  return true;
}

std::vector<KnownPeer> Health::known(HealthTime now) const {
  std::vector<KnownPeer> known;
  for (const PeerHealth& each : peers()) {
    if (each.state != PeerState::kUntried) {
      using std::chrono::duration_cast, std::chrono::microseconds;
      known.push_back({each.peer.cluster, each.peer.gateway, each.state == PeerState::kUnreachable, each.draining,
                       each.answers_needed, each.penalty, duration_cast<microseconds>(each.round_trip),
                       each.last_answer == HealthTime()
                           ? std::nullopt
                           : std::optional(duration_cast<microseconds>(now - each.last_answer))});
    }
  }
  std::stable_partition(known.begin(), known.end(),
                        [](const KnownPeer& each) { return each.unreachable || each.draining; });
  return known;
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
  } else if (peer.state == PeerState::kUntried) {
    doubt_untried(peer, now);
  }
  if (peer.state == PeerState::kAlive && peer.penalty > 1 && now - peer.penalty_since >= options_.penalty_decay) {
    peer.penalty /= 2;
    peer.penalty_since = now;
  }
  probe(peer, now);
}

// Its own cluster's gateways alone show that it should have answered. Looked at once an interval: those that speak no
// probes at all stay untried for ever.
void Health::doubt_untried(Peer& peer, HealthTime now) {
  const Count& count = counts_[peer.peer.cluster];
  if (peer.missed() < options_.misses || count.serving + count.draining == 0) {
    return;
  }
  peer.confirmed_from = peer.sent_at[(peer.sent - options_.misses + 1) % kWindow];
  extend_confirmation_window(peer, now);
  if (is_confirmed(peer, true)) {
    mark_unreachable(peer, now);
  }
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
  if (!send_(peer.peer.id, peer.sent + 1, has_another(peer))) {
    return;
  }
  ++peer.sent;
  peer.sent_at[peer.sent % kWindow] = now;
  peer.was_answered[peer.sent % kWindow] = false;
}

void Health::answer(PeerId id, std::uint32_t sequence, bool draining, HealthTime now) {
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
  if (!std::exchange(peer.tried, true)) {
    remembered_.erase({peer.peer.cluster, peer.peer.gateway});
  }
  peer.draining = draining;
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

bool Health::is_confirmed(const Peer& suspect, bool own_cluster) const {
  return std::any_of(peers_.begin(), peers_.end(), [&suspect, own_cluster](const auto& entry) {
    const Peer& other = entry.second;
    if (own_cluster && other.peer.cluster != suspect.peer.cluster) {
      return false;
    }
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
    if (peer.state == PeerState::kSuspect && is_confirmed(peer, false)) {
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
  const bool failed = peer.answers() && !peer.draining;  // else it is not up yet, or had said that it goes
  set_state(peer, PeerState::kUnreachable, now);
  peer.streak = 0;
  peer.needed = options_.recover * peer.penalty;
  if (failed) {
    ++peer.failures;
    peer.penalty = std::min(peer.penalty * 2, options_.penalty_cap);
  }
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
    isolation_ended_ = isolated ? isolation_ended_ : std::optional(now);
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
  update_draining();
}

void Health::update_draining() {
  counts_.clear();
  for (const auto& [id, peer] : peers_) {
    Count& count = counts_[peer.peer.cluster];
    ++count.all;
    count.serving += peer.serves() ? 1 : 0;
    count.draining += peer.answers() && peer.draining ? 1 : 0;
    count.unreachable += peer.state == PeerState::kUnreachable ? 1 : 0;
  }
  std::vector<PeerId> left;
  for (const auto& [id, peer] : peers_) {
    if (peer.answers() && peer.draining && has_another(peer)) {
      left.push_back(id);
    }
  }
  std::vector<ClusterId> clusters;
  for (const auto& [cluster, count] : counts_) {
    if (count.is_draining()) {
      clusters.push_back(cluster);
    }
  }
  changes_.draining_changed = changes_.draining_changed || left != left_ || clusters != draining_clusters_;
  left_ = std::move(left);
  draining_clusters_ = std::move(clusters);
}

bool Health::has_another(const Peer& peer) const {
  const auto at = counts_.find(peer.peer.cluster);
  return at != counts_.end() && at->second.serving > (peer.serves() ? 1U : 0U);
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
  return found == peers_.end() ||
         (found->second.state != PeerState::kUnreachable && !std::binary_search(left_.begin(), left_.end(), id));
}

std::vector<PeerId> Health::unusable_peers() const {
  std::vector<PeerId> unusable;
  for (const auto& [id, peer] : peers_) {
    if (!usable(id)) {
      unusable.push_back(id);
    }
  }
  return unusable;
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
                   .draining = peer.draining,
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

std::vector<ClusterId> Health::draining_clusters() const { return draining_clusters_; }

HealthChanges Health::take_changes() { return std::exchange(changes_, {}); }

std::chrono::nanoseconds Health::jittered() {
  constexpr std::int64_t kPart = 10;  // +-1/10
  const std::int64_t width = options_.interval.count() / kPart;
  const auto offset = static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(2 * width + 1)) - width;
  return options_.interval + std::chrono::nanoseconds(offset);
}

}  // namespace isthmus
