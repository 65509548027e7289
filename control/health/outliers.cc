#include "control/health/outliers.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace isthmus {
namespace {

constexpr Outliers::Time kFailuresKept{kOpeningSpan.value()};
constexpr Outliers::Time kLongestEjection{kMaxOutlierSeconds};

}  // namespace

void Outliers::Backend::forget_failures() {
  failures = 0;
  witnesses.clear();
  others = false;
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
    ++pools_[pool];
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
  surplus_ = std::any_of(pools_.begin(), pools_.end(), [&](const auto& each) { return has_surplus(each.first); });
}

// What is heard
// --------------------------------------------------------------------------------------------------------

void Outliers::note_answered(const IpAddress& client, Time now) {
  if (answered_[0].client != client) {
    answered_[1] = answered_[0];
  }
  answered_[0] = {client, now};
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

bool Outliers::has_others(const IpAddress& than, Time now) const {
  return std::any_of(answered_.begin(), answered_.end(),
                     [&](const Answered& each) {
                       return !each.client.is_unspecified() && each.client != than && now - each.at <= kFailuresKept;
                     }) ||
         std::any_of(clients_.begin(), clients_.end(),
                     [&](const auto& each) { return each.first != than && now - each.second.failed <= kFailuresKept; });
}

void Outliers::add_witness(Backend& backend, const IpAddress& client, Time now) {
  if (backend.witnesses.size() >= kMostWitnesses && backend.witnesses.count(client) == 0) {
    const auto useless = std::find_if(backend.witnesses.begin(), backend.witnesses.end(),
                                      [&](const IpAddress& each) { return !is_believed(each, now); });
    if (useless == backend.witnesses.end()) {
      return;
    }
    backend.witnesses.erase(useless);
  }
  backend.witnesses.insert(client);
}

void Outliers::note(const OpeningOutcome& outcome, Time now) {
  const auto it = backends_.find(outcome.backend);
  if (!on() || it == backends_.end()) {
    return;
  }
  Backend& backend = it->second;
  if (!outcome.failed()) {
    note_answered(outcome.client, now);
    backend.forget_failures();
    backend.ejections = backend.until ? backend.ejections : 0;
    return;
  }
  note_failed(outcome.client, outcome.backend, now);
  if (backend.until) {  // opened before
    return;
  }
  if (now - backend.last > kFailuresKept) {
    backend.forget_failures();
  }
  ++backend.failures;
  backend.last = now;
  backend.others = backend.others || outcome.others;
  add_witness(backend, outcome.client, now);
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
  std::vector<IpAddress> believed;
  std::copy_if(backend.witnesses.begin(), backend.witnesses.end(), std::back_inserter(believed),
               [&](const IpAddress& each) { return is_believed(each, now); });
  return believed.size() >= 2 || (believed.size() == 1 && !backend.others && !has_others(believed.front(), now));
}

std::size_t Outliers::allowed(const Pool& pool) const {
  const auto it = pools_.find(pool);
  const std::size_t all = it == pools_.end() ? 0 : it->second;
  return all < 2 ? 0 : std::min(std::max<std::size_t>(all * rules_.max_percent / 100, 1), all - 1);
}

std::size_t Outliers::ejected_in(const Pool& pool) const {
  return static_cast<std::size_t>(std::count_if(
      returns_.begin(), returns_.end(), [&](const auto& each) { return backends_.at(each.first).pool == pool; }));
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
}

void Outliers::let_return(BackendId id, std::vector<Change>& changes) {
  backends_.at(id).until.reset();
  returns_.erase(id);
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
    if (!on() || until <= now || has_surplus(backends_.at(id).pool)) {
      let_return(id, changes);
    }
  }
  surplus_ = false;
  for (auto& [id, backend] : backends_) {
    if (on() && is_outlier(backend, now) && ejected_in(backend.pool) < allowed(backend.pool)) {
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
           return is_outlier(backend, now) && ejected_in(backend.pool) < allowed(backend.pool);
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
