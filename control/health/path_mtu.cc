#include "control/health/path_mtu.h"

#include <algorithm>
#include <utility>

#include "dataplane/api/engine.h"

namespace isthmus {

PathMtus::PathMtus(const PathMtuOptions& options, Send send)
    : options_(options), send_(std::move(send)), random_(options.seed) {}

void PathMtus::set_peers(std::span<const PathMtuPeer> peers, HealthTime now) {
  news_ = true;
  std::map<PeerId, Path> next;
  std::vector<Path*> fresh;
  for (const PathMtuPeer& desired : peers) {
    if (const auto known = paths_.find(desired.id);
        known != paths_.end() && known->second.probed && known->second.peer == desired) {
      next.insert(paths_.extract(known));
      continue;
    }
    Path path;
    path.peer = desired;
    path.probed = true;
    path.mtu = desired.most.value();
    path.due = options_.interval.count() == 0 ? HealthTime::max() : now;
    path.sent = static_cast<std::uint32_t>(random_());  // an answer to a probe of an earlier process must not match
    fresh.push_back(&next.emplace(desired.id, path).first->second);
  }
  for (auto& [id, path] : paths_) {
    const auto successor = next.find(id);
    if (successor == next.end() && !path.probed) {
      next.emplace(id, path);  // until its claim expires
    } else if (path.mtu != path.peer.most.value()) {
      changes_[id] = {id, Bytes{0}};
    }
  }
  for (Path* const path : fresh) {
    recall(*path, now);
  }
  paths_ = std::move(next);
}

void PathMtus::remember(std::span<const KnownPath> known, HealthTime now) {
  remembered_.clear();
  for (const KnownPath& path : known) {
    remembered_[path.underlay] = path;
  }
  for (auto& [id, path] : paths_) {
    if (path.probed && !path.speaks) {
      recall(path, now);
    }
  }
}

// Its peer has answered that process; what does not answer now is looked for from the least on.
void PathMtus::recall(Path& path, HealthTime now) {
  const auto found = remembered_.find(path.peer.underlay);
  if (found == remembered_.end() || options_.interval.count() == 0 || found->second.mtu >= path.peer.most ||
      found->second.mtu.value() < least(path.peer.underlay.family())) {
    return;
  }
  path.speaks = true;
  path.checking = path.searching = false;
  path.due = now;
  path.way = found->second.way;
  set_mtu(path, found->second.mtu.value(), PathMtuSource::kProbes);
}

std::vector<KnownPath> PathMtus::known() const {
  std::vector<KnownPath> known;
  for (const auto& [id, path] : paths_) {
    if (path.source == PathMtuSource::kProbes) {
      known.push_back({path.peer.underlay, Bytes{path.mtu}, path.worst});
    }
  }
  return known;
}

void PathMtus::tick(HealthTime now) {
  for (auto at = paths_.begin(); at != paths_.end();) {
    Path& path = at->second;
    if (path.source == PathMtuSource::kClaim && path.claim_until <= now) {
      set_mtu(path, path.peer.most.value(), PathMtuSource::kDevice);
    }
    if (!path.probed && path.source == PathMtuSource::kDevice) {
      at = paths_.erase(at);
      continue;
    }
    if (path.due <= now) {
      if (path.searching) {
        end_round(path, now);
      } else if (path.checking && path.speaks) {  // without an answer
        search(path, path.unanswered[0].second, least(path.peer.underlay.family()), path.mtu + 1, now);
      } else if (path.checking) {
        rest(path, now);
      } else {
        check(path, now);
      }
    }
    ++at;
  }
}

// One that has not answered yet is asked for what passes anywhere too: the path may never have carried more.
void PathMtus::check(Path& path, HealthTime now) {
  path.checking = true;
  if (!path.speaks) {
    send(path, least(path.peer.underlay.family()), any_way(), now);
  }
  path.unanswered_count = kWays;
  for (auto& [sequence, way] : path.unanswered) {
    way = any_way();
    sequence = send(path, path.mtu, way, now);
  }
  path.due = now + patience(path);
}

void PathMtus::answer(PeerId peer, std::uint32_t sequence, HealthTime now) {
  const auto at = paths_.find(peer);
  if (at == paths_.end() || ((at->second.sent - sequence) & ~kSizedProbe) >= kWindow) {
    return;
  }
  Path& path = at->second;
  const unsigned place = sequence % kWindow;
  const std::uint32_t bytes = std::exchange(path.sizes[place], 0);
  if (bytes == 0) {
    return;
  }
  path.speaks = true;
  path.round_trip = now - path.sent_at[place];
  if (path.searching) {
    path.control_answered = path.control_answered || bytes >= path.good;
    path.silent = 0;
    if (bytes > path.good) {
      path.good = bytes;
      path.bad = std::max(path.bad, bytes + 1);  // lost by chance
      path.strikes = 0;
    }
    if (path.good > path.mtu) {
      set_mtu(path, path.good, PathMtuSource::kProbes);
    }
    if (path.bad - path.good <= 1) {
      end_search(path, now);
    }
  } else if (path.checking && bytes == path.mtu) {
    const auto end = path.unanswered.begin() + path.unanswered_count;
    const auto left =
        std::remove_if(path.unanswered.begin(), end, [&](const auto& probe) { return probe.first == sequence; });
    path.unanswered_count = static_cast<unsigned>(left - path.unanswered.begin());
    if (path.unanswered_count != 0) {
      return;
    }
    path.checking = false;
    if (path.mtu < path.peer.most.value()) {
      path.asked = path.mtu;
      search(path, path.worst, path.mtu, path.peer.most.value() + 1, now);
    } else {
      rest(path, now);
    }
  }
}

void PathMtus::claim(const PathMtuClaim& claim, Bytes most, HealthTime now) {
  const Family underlay = claim.router.family();
  const std::uint32_t bytes = claim.mtu.value();
  auto at = paths_.find(claim.peer);
  if (at != paths_.end()) {
    note_claim(at->second, bytes, now);
  }
  const std::uint32_t before = at == paths_.end() ? most.value() : at->second.mtu;
  if (bytes >= before || bytes < least(underlay)) {
    return;
  }
  if (at == paths_.end()) {
    Path path;
    path.peer.id = claim.peer;
    path.peer.most = most;
    path.mtu = most.value();
    path.due = HealthTime::max();
    at = paths_.emplace(claim.peer, path).first;
  }
  Path& path = at->second;
  const bool asks = path.probed && options_.interval.count() != 0;
  if (!path.speaks || !asks) {
    set_mtu(path, bytes, PathMtuSource::kClaim);
    path.claim_until = now + kClaimHold;
  }
  if (asks && !path.searching) {
    path.asked = bytes;
    search(path, claim.way, least(underlay), before + 1, now);
  }
}

void PathMtus::note_claim(Path& path, std::uint32_t bytes, HealthTime now) {
  if (bytes >= least(path.peer.underlay.family()) && bytes < path.peer.most.value()) {
    path.told = bytes;
    path.told_at = now;
    set_silences(path, bytes <= path.mtu ? 0 : path.silences);
  }
}

// A search asks for all sizes up to the device's, so that a router that speaks does so in each.
void PathMtus::count_silence(Path& path, HealthTime now) {
  const bool told = path.told != 0 && path.told <= path.mtu && now - path.told_at < kClaimHold;
  const bool loses = path.mtu < path.peer.most.value() && !told;
  set_silences(path, loses ? std::min(path.silences + 1, kLasting) : 0);
}

void PathMtus::set_silences(Path& path, unsigned silences) {
  news_ = std::exchange(path.silences, silences) != silences || news_;
}

void PathMtus::search(Path& path, std::uint16_t way, std::uint32_t good, std::uint32_t bad, HealthTime now) {
  path.checking = false;
  path.searching = true;
  path.way = way;
  path.good = good;
  path.bad = bad;
  path.strikes = path.silent = 0;
  begin_round(path, now);
}

void PathMtus::begin_round(Path& path, HealthTime now) {
  std::vector<std::uint32_t> sizes;
  const std::uint32_t between = path.bad - path.good - 1;
  const std::uint32_t count = std::min<std::uint32_t>(between, kSizes);
  for (std::uint32_t i = 1; i <= count; ++i) {  // the longest is the one below `bad`
    sizes.push_back(path.good + static_cast<std::uint32_t>(std::uint64_t{between} * i / count));
  }
  for (const std::uint32_t size : {path.asked, path.asked + 1}) {
    if (path.asked != 0 && size > path.good && size < path.bad) {
      sizes.push_back(size);
    }
  }
  path.control_answered = false;
  path.suspect = sizes.empty() ? 0 : *std::min_element(sizes.begin(), sizes.end());
  send(path, path.good, path.way, now);
  for (const std::uint32_t size : sizes) {
    send(path, size, path.way, now);
  }
  path.due = now + patience(path);
}

void PathMtus::end_round(Path& path, HealthTime now) {
  if (!path.control_answered) {
    if (++path.silent >= kSilent) {
      path.searching = false;
      path.asked = 0;
      rest(path, now);
      return;
    }
  } else if (path.suspect > path.good && ++path.strikes >= kStrikes) {
    path.bad = path.suspect;
    path.strikes = 0;
    if (path.mtu >= path.bad) {
      set_mtu(path, path.good, PathMtuSource::kProbes);
    }
  }
  if (path.bad - path.good <= 1) {
    end_search(path, now);
  } else {
    begin_round(path, now);
  }
}

void PathMtus::end_search(Path& path, HealthTime now) {
  path.searching = false;
  path.asked = 0;
  set_mtu(path, path.good, PathMtuSource::kProbes);
  count_silence(path, now);
  rest(path, now);
}

std::uint32_t PathMtus::send(Path& path, std::uint32_t bytes, std::uint16_t way, HealthTime now) {
  const std::uint32_t sequence = ++path.sent | kSizedProbe;
  path.sizes[sequence % kWindow] = bytes;
  path.sent_at[sequence % kWindow] = now;
  if (!send_({path.peer.id, sequence, Bytes{bytes}, way})) {
    path.sizes[sequence % kWindow] = 0;
  }
  return sequence;
}

void PathMtus::set_mtu(Path& path, std::uint32_t mtu, PathMtuSource source) {
  const bool whole = mtu == path.peer.most.value();
  path.source = whole ? PathMtuSource::kDevice : source;
  path.worst = mtu < path.mtu ? path.way : path.worst;
  if (std::exchange(path.mtu, mtu) != mtu) {
    news_ = true;
    changes_[path.peer.id] = {path.peer.id, whole ? Bytes{0} : Bytes{mtu}};
  }
}

void PathMtus::rest(Path& path, HealthTime now) {
  path.checking = false;
  const auto tenth = static_cast<std::uint64_t>(std::max<std::int64_t>(options_.interval.count() / 10, 1));
  path.due = now + options_.interval - std::chrono::nanoseconds(random_() % tenth);
}

// Until an answer is given up: some round trips, which take longer while a burst of probes is under way.
std::chrono::nanoseconds PathMtus::patience(const Path& path) {
  constexpr std::chrono::nanoseconds kLeast = std::chrono::milliseconds(250), kMost = std::chrono::seconds(1);
  return path.round_trip.count() == 0 ? kMost : std::clamp(path.round_trip * 4, kLeast, kMost);
}

HealthTime PathMtus::next_due() const {
  HealthTime due = HealthTime::max();
  for (const auto& [id, path] : paths_) {
    due = std::min(due, path.due);
    if (path.source == PathMtuSource::kClaim) {
      due = std::min(due, path.claim_until);
    }
  }
  return due;
}

std::vector<PathMtu> PathMtus::take_changes() {
  std::vector<PathMtu> changes;
  for (const auto& [id, change] : std::exchange(changes_, {})) {
    changes.push_back(change);
  }
  return changes;
}

std::map<PeerId, PathMtuView> PathMtus::views() const {
  std::map<PeerId, PathMtuView> views;
  for (const auto& [id, path] : paths_) {
    views[id] = {Bytes{path.mtu}, path.source, path.source == PathMtuSource::kProbes && path.silences == kLasting};
  }
  return views;
}

}  // namespace isthmus
