#include "control/source/etcd/gateway_names.h"

#include <optional>
#include <utility>

#include "control/source/etcd/problem.h"

namespace isthmus {
namespace {

// Of each cluster; as many as it may have gateways, unless the configuration says otherwise.
constexpr std::size_t kFormerNames = 64;
constexpr std::size_t kProblemsOfCluster = 10;

}  // namespace

void GatewayNames::put(const Id& id, const std::string& wanted, Gateway gateway) {
  if (const auto at = candidates_.find(id); at != candidates_.end() && at->second.wanted != wanted) {
    remove(id);
  }
  Candidate& candidate = candidates_[id];
  candidate.wanted = wanted;
  candidate.gateway = std::move(gateway);
  if (candidate.name.empty()) {
    fresh_.insert(id);
  } else {
    touched_.insert(candidate.name);
  }
}

void GatewayNames::remove(const Id& id) {
  const auto at = candidates_.find(id);
  if (at == candidates_.end()) {
    return;
  }
  const std::string& name = at->second.name;
  if (name.empty()) {
    left_out_.erase(id);
    fresh_.erase(id);
  } else {
    holders_.erase(name);
    touched_.insert(name);
    give_up(name, at->second.cluster());
    fresh_.merge(left_out_);
  }
  candidates_.erase(at);
}

void GatewayNames::give_up(const std::string& name, const std::string& cluster) {
  std::deque<std::string>& names = given_up_[cluster];
  if (!former_.insert_or_assign(name, cluster).second) {
    std::erase(names, name);
  }
  names.push_back(name);
  if (names.size() > kFormerNames) {
    former_.erase(names.front());
    names.pop_front();
  }
}

void GatewayNames::set_known(const RestoredMembers& members) {
  Known known;
  for (const auto& [cluster, member] : members) {
    for (const auto& [name, underlay] : member.gateways) {
      known.try_emplace(name, cluster, underlay);
    }
  }
  known_ = std::move(known);
  fresh_.merge(left_out_);
}

bool GatewayNames::had(const Candidate& candidate, const std::string& name) const {
  const auto known = known_.find(name);
  return known != known_.end() && known->second == std::pair(candidate.cluster(), candidate.gateway.object.underlay) &&
         !holders_.contains(name);
}

bool GatewayNames::is_free(const std::string& name, const std::string& cluster) const {
  const auto known = known_.find(name);
  const auto former = former_.find(name);
  return name != own_ && !holders_.contains(name) && (known == known_.end() || known->second.first == cluster) &&
         (former == former_.end() || former->second == cluster);
}

void GatewayNames::give(const Id& id, Candidate& candidate, const std::string& name) {
  left_out_.erase(id);
  candidate.name = name;
  holders_.emplace(name, id);
  touched_.insert(name);
}

void GatewayNames::assign(const Id& id, Candidate& candidate) {
  const std::string full = candidate.full();
  for (const std::string& name : {candidate.wanted, full}) {
    if (had(candidate, name)) {
      return give(id, candidate, name);
    }
  }
  for (const std::string& name : {candidate.wanted, full}) {
    if (is_free(name, candidate.cluster())) {
      return give(id, candidate, name);
    }
  }
  left_out_.insert(id);
}

void GatewayNames::settle(std::vector<ObjectDelta>& out) {
  const std::set<Id> fresh = std::exchange(fresh_, {});
  for (const bool earlier : {true, false}) {
    for (const Id& id : fresh) {
      Candidate& candidate = candidates_.at(id);
      if (candidate.name.empty() && earlier == (had(candidate, candidate.wanted) || had(candidate, candidate.full()))) {
        assign(id, candidate);
      }
    }
  }
  std::vector<ObjectDelta> come;  // after what goes
  for (const std::string& name : std::exchange(touched_, {})) {
    const auto holder = holders_.find(name);
    const auto before = published_.find(name);
    if (holder == holders_.end()) {
      if (before != published_.end()) {
        out.push_back({{ObjectKind::kGateway, {}, {}, name}, std::nullopt, {before->second.location, 0}});
        published_.erase(before);
      }
      continue;
    }
    const Gateway& now = candidates_.at(holder->second).gateway;
    if (before == published_.end() || !(before->second == now)) {
      come.push_back({{ObjectKind::kGateway, {}, {}, name}, now.object, {now.location, 0}});
      published_[name] = now;
    }
  }
  out.insert(out.end(), std::make_move_iterator(come.begin()), std::make_move_iterator(come.end()));
}

std::string GatewayNames::holder_of(const std::string& name) const {
  if (name == own_) {
    return "this gateway";
  }
  if (const auto holder = holders_.find(name); holder != holders_.end()) {
    const Candidate& candidate = candidates_.at(holder->second);
    return "a gateway of cluster " + candidate.cluster() + " (" + candidate.gateway.object.underlay.to_string() + ")";
  }
  if (const auto former = former_.find(name); former != former_.end()) {
    return "cluster " + former->second + ", whose gateway is gone,";
  }
  const auto known = known_.find(name);
  return known == known_.end() ? "nobody" : "a gateway of cluster " + known->second.first + " from before the restart";
}

std::size_t GatewayNames::append_problems(std::size_t most, std::vector<SourceProblem>& problems) const {
  std::string cluster;
  std::size_t of_cluster = 0, listed = 0;
  for (const Id& id : left_out_) {
    const Candidate& candidate = candidates_.at(id);
    of_cluster = candidate.cluster() == cluster ? of_cluster + 1 : 1;
    cluster = candidate.cluster();
    if (of_cluster > kProblemsOfCluster || listed == most) {
      continue;
    }
    ++listed;
    const std::string full = candidate.full();
    problems.push_back(problem_at(candidate.gateway.location,
                                  "gateway " + candidate.wanted + " of cluster " + candidate.cluster() + " (" +
                                      candidate.gateway.object.underlay.to_string() +
                                      ") is left out: " + holder_of(candidate.wanted) + " has its name, and " +
                                      holder_of(full) + " has " + full,
                                  "rename it, or the gateway that has its name"));
  }
  return listed;
}

}  // namespace isthmus
