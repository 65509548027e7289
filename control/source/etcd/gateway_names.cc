#include "control/source/etcd/gateway_names.h"

#include <optional>
#include <utility>

#include "control/source/etcd/problem.h"

namespace isthmus {

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
    leave_out(id, at->second, false);
    fresh_.erase(id);
  } else {
    holders_.erase(name);
    freed_.insert(name);
    touched_.insert(name);
  }
  candidates_.erase(at);
}

void GatewayNames::set_known(const RestoredMembers& members) {
  Known known;
  for (const auto& [cluster, member] : members) {
    for (const auto& [name, underlay] : member.gateways) {
      known.try_emplace(name, cluster, underlay);
    }
  }
  for (const auto& [name, of] : std::exchange(known_, std::move(known))) {
    if (!known_.contains(name)) {
      freed_.insert(name);
    }
  }
}

bool GatewayNames::had(const Candidate& candidate, const std::string& name) const {
  const auto known = known_.find(name);
  return known != known_.end() && known->second == std::pair(candidate.cluster(), candidate.gateway.object.underlay) &&
         !holders_.contains(name);
}

bool GatewayNames::is_free(const std::string& name, const std::string& cluster) const {
  const auto known = known_.find(name);
  return name != own_ && !holders_.contains(name) && (known == known_.end() || known->second.first == cluster);
}

void GatewayNames::give(const Id& id, Candidate& candidate, const std::string& name) {
  leave_out(id, candidate, false);
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
  leave_out(id, candidate, true);
}

// What is left out gets the names that nobody has any more.
void GatewayNames::give_freed() {
  for (const std::string& name : std::exchange(freed_, {})) {
    const auto waiting = waiting_.find(name);
    if (waiting == waiting_.end()) {
      continue;
    }
    for (const Id& id : waiting->second) {
      Candidate& candidate = candidates_.at(id);
      if (is_free(name, candidate.cluster())) {
        const Id first = id;  // of the set that give() changes
        give(first, candidate, name);
        break;
      }
    }
  }
}

void GatewayNames::leave_out(const Id& id, const Candidate& candidate, bool out) {
  if (out) {
    left_out_.insert(id);
  } else if (left_out_.erase(id) == 0) {
    return;
  }
  for (const std::string& name : {candidate.wanted, candidate.full()}) {
    if (out) {
      waiting_[name].insert(id);
    } else if (const auto at = waiting_.find(name); at != waiting_.end()) {
      at->second.erase(id);
      if (at->second.empty()) {
        waiting_.erase(at);
      }
    }
  }
}

void GatewayNames::settle(std::vector<ObjectDelta>& out) {
  for (const bool earlier : {true, false}) {
    for (const Id& id : fresh_) {
      Candidate& candidate = candidates_.at(id);
      if (candidate.name.empty() && earlier == (had(candidate, candidate.wanted) || had(candidate, candidate.full()))) {
        assign(id, candidate);
      }
    }
  }
  fresh_.clear();
  give_freed();
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
  const auto known = known_.find(name);
  return known == known_.end() ? "nobody" : "a gateway of cluster " + known->second.first + " from before the restart";
}

void GatewayNames::append_problems(std::size_t most, std::vector<SourceProblem>& problems) const {
  for (const Id& id : left_out_) {
    if (most-- == 0) {
      return;
    }
    const Candidate& candidate = candidates_.at(id);
    const std::string full = candidate.full();
    problems.push_back(problem_at(candidate.gateway.location,
                                  "gateway " + candidate.wanted + " of cluster " + candidate.cluster() + " (" +
                                      candidate.gateway.object.underlay.to_string() +
                                      ") is left out: " + holder_of(candidate.wanted) + " has its name, and " +
                                      holder_of(full) + " has " + full,
                                  "rename it, or the gateway that has its name"));
  }
}

}  // namespace isthmus
