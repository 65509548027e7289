#include "control/health/outliers.h"

#include <algorithm>
#include <utility>

namespace isthmus {
namespace {

constexpr Outliers::Time kFailuresKept{kOpeningSpan.value()};
constexpr Outliers::Time kLongestEjection{kMaxOutlierSeconds};

}  // namespace

void Outliers::Backend::forget_failures() {
  failures = 0;
  witnesses.clear();
}

std::size_t Outliers::Count::allowed(unsigned max_percent) const {
  return all < 2 ? 0 : std::min(std::max<std::size_t>(all * max_percent / 100, 1), all - 1);
}

void Outliers::begin() {
  pools_.clear();
  for (auto& [id, backend] : backends_) {
    backend.seen = false;
  }
}

// Ports of a service may share a backend, which is then seen for each of them.
void Outliers::see(BackendId id, const Pool& pool) {
  if (!on()) {
    return;
  }
  Backend& backend = backends_[id];
  if (!std::exchange(backend.seen, true)) {
    backend.pool = pool;
    Count& count = pools_[pool];
    ++count.all;
    count.ejected += backend.until ? 1 : 0;
  }
}

void Outliers::end() {
  for (auto it = backends_.begin(); it != backends_.end();) {
    if (it->second.seen) {
      ++it;
    } else {
      returns_.erase(it->first);
      it = backends_.erase(it);
    }
  }
  if (backends_.empty()) {
    clients_.clear();
  }
  surplus_ = std::any_of(pools_.begin(), pools_.end(), [&](const auto& each) { return has_surplus(each.second); });
}

// What is heard
// --------------------------------------------------------------------------------------------------------

IpAddress Outliers::witness_of(const OpeningOutcome& outcome) {
  const std::uint8_t prefix = outcome.client.family() == Family::kIpv4 ? kIpv4Prefix : kIpv6Prefix;
  return outcome.endpoint ? outcome.client : Prefix(outcome.client, prefix).address();
}

void Outliers::note_answered(const IpAddress& client, Time now) {
  if (const auto it = clients_.find(client); it != clients_.end()) {
    it->second.answered = now;
  }
}

void Outliers::note_failed(const IpAddress& address, BackendId backend, Time now) {
  const auto it = clients_.find(address);
  if (it == clients_.end() && clients_.size() >= kMostClients) {
    clients_.erase(std::min_element(clients_.begin(), clients_.end(),
                                    [](const auto& a, const auto& b) { return a.second.turn < b.second.turn; }));
  }
  Client& client = it == clients_.end() ? clients_[address] : it->second;
  if (client.turn == 0 || now - client.failed > kFailuresKept) {
    client = {};
    client.failed_at = backend;
  }
  client.turn = ++turns_;
  client.failed = now;
  client.failed_elsewhere = client.failed_elsewhere || client.failed_at != backend;
}

// One that fails everywhere and is answered by none tells of itself.
bool Outliers::is_believed(const IpAddress& address, Time now) const {
  const auto it = clients_.find(address);
  if (it == clients_.end()) {
    return false;
  }
  const Client& client = it->second;
  return !client.failed_elsewhere || (client.answered && now - *client.answered <= kFailuresKept);
}

void Outliers::add_witness(Backend& backend, const IpAddress& client, Time now) {
  if (backend.witnesses.size() >= kMostWitnesses && backend.witnesses.count(client) == 0) {
    const auto useless = std::find_if(backend.witnesses.begin(), backend.witnesses.end(),
                                      [&](const auto& each) { return !is_believed(each.first, now); });
    if (useless == backend.witnesses.end()) {
      return;
    }
    backend.witnesses.erase(useless);
  }
  ++backend.witnesses[client];
}

void Outliers::note(const OpeningOutcome& outcome, Time now) {
  const auto it = backends_.find(outcome.backend);
  if (!on() || it == backends_.end()) {
    return;
  }
  Backend& backend = it->second;
  const IpAddress witness = witness_of(outcome);
  if (!outcome.failed()) {
    note_answered(witness, now);
    backend.forget_failures();
    backend.ejections = backend.until ? backend.ejections : 0;
    return;
  }
  note_failed(witness, outcome.backend, now);
  if (backend.until) {  // opened before
    return;
  }
  if (now - backend.last > kFailuresKept) {
    backend.forget_failures();
  }
  ++backend.failures;
  backend.last = now;
  add_witness(backend, witness, now);
}

void Outliers::begin_anew() {
  for (auto& [id, backend] : backends_) {
    backend.forget_failures();
  }
}

// What follows
// ---------------------------------------------------------------------------------------------------------

bool Outliers::is_outlier(const Backend& backend, Time now) const {
  if (backend.until || backend.failures < rules_.failures || now - backend.last > kFailuresKept) {
    return false;
  }
  const unsigned most = (rules_.failures + 1) / 2;  // of one witness
  unsigned failures = 0;
  std::size_t believed = 0;
  for (const auto& [witness, count] : backend.witnesses) {
    if (is_believed(witness, now)) {
      ++believed;
      failures += std::min(count, most);
    }
  }
  // Of more witnesses than are remembered, the shares are not known, and need not be.
  return believed >= kMostWitnesses || (believed >= 2 && failures >= rules_.failures);
}

Outliers::Time Outliers::time_of(const Backend& backend) const {
  const unsigned doublings = std::min(backend.ejections - 1, kMostDoublings);
  return std::min(Time(rules_.seconds) * (1U << doublings), kLongestEjection);
}

void Outliers::eject(BackendId id, Backend& backend, Time now, std::vector<Change>& changes) {
  ++backend.ejections;
  const Time time = time_of(backend);
  changes.push_back({id, true, backend.failures, time});
  backend.forget_failures();
  backend.until = now + time;
  returns_[id] = *backend.until;
  ++pools_.at(backend.pool).ejected;
}

void Outliers::let_return(BackendId id, std::vector<Change>& changes) {
  Backend& backend = backends_.at(id);
  backend.until.reset();
  returns_.erase(id);
  --pools_.at(backend.pool).ejected;
  changes.push_back({id, false, 0, Time(0)});
}

std::vector<Outliers::Change> Outliers::settle(Time now) {
  std::vector<Change> changes;
  std::vector<std::pair<Time, BackendId>> away;  // those that return first come first
  for (const auto& [id, until] : returns_) {
    away.emplace_back(until, id);
  }
  std::sort(away.begin(), away.end());
  for (const auto& [until, id] : away) {
    if (!on() || until <= now || has_surplus(pools_.at(backends_.at(id).pool))) {
      let_return(id, changes);
    }
  }
  surplus_ = false;
  for (auto& [id, backend] : backends_) {
    if (on() && is_outlier(backend, now) && has_room(pools_.at(backend.pool))) {
      eject(id, backend, now, changes);
    }
  }
  std::erase_if(clients_, [&](const auto& each) { return now - each.second.failed > kFailuresKept; });
  return changes;
}

bool Outliers::due(Time now) const {
  return surplus_ ||
         std::any_of(returns_.begin(), returns_.end(), [&](const auto& each) { return each.second <= now; }) ||
         std::any_of(backends_.begin(), backends_.end(), [&](const auto& each) {
           const Backend& backend = each.second;
           return is_outlier(backend, now) && has_room(pools_.at(backend.pool));
         });
}

ClusterId Outliers::cluster_of(BackendId id) const {
  const auto it = backends_.find(id);
  return it == backends_.end() ? kNoCluster : it->second.pool.cluster;
}

std::optional<Outliers::Time> Outliers::ejected_until(BackendId id) const {
  const auto it = returns_.find(id);
  return it == returns_.end() ? std::nullopt : std::optional(it->second);
}

std::optional<Outliers::Time> Outliers::next_return() const {
  if (surplus_) {
    return Time(0);
  }
  const auto first = std::min_element(returns_.begin(), returns_.end(),
                                      [](const auto& a, const auto& b) { return a.second < b.second; });
  return first == returns_.end() ? std::nullopt : std::optional(first->second);
}

}  // namespace isthmus
