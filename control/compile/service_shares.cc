// ServiceSet: backends that get less than their share of the new connections, because they start slowly or are
// outliers.
#include <algorithm>
#include <tuple>

#include "control/compile/services.h"

namespace isthmus {
namespace {

OutlierEjection outlier_rules(const ServiceRules& rules, const OutlierEjection& configured) {
  const auto either = [](std::uint32_t said, unsigned otherwise) {
    return said == ServiceRules::kAsConfigured ? otherwise : said;
  };
  return {either(rules.outlier_failures, configured.failures), either(rules.outlier_seconds, configured.seconds),
          either(rules.outlier_percent, configured.max_percent)};
}

}  // namespace

void ServiceSet::begin_shares(const Inputs& inputs, Service& service) {
  const std::uint32_t window = service.rules.slow_start;
  service.starting.begin(inputs.now, window == ServiceRules::kAsConfigured ? slow_start_ : SlowStart::Time(window));
  service.outliers.set_rules(outlier_rules(service.rules, outliers_));
  note_changes(service, service.outliers.settle(inputs.now));
  service.outliers.begin();
}

void ServiceSet::note_changes(Service& service, const std::vector<Outliers::Change>& changes) {
  std::map<BackendId, std::pair<const BackendView*, IpProtocol>> backends;
  if (!changes.empty()) {
    for (const auto& [key, state] : service.ports) {
      for (const BackendView& backend : state.view.backends) {
        backends[backend.id] = {&backend, std::get<IpProtocol>(key)};
      }
    }
  }
  for (const Outliers::Change& change : changes) {
    const auto at = backends.find(change.backend);
    if (at == backends.end()) {
      continue;
    }
    const auto& [view, protocol] = at->second;
    ejections_.push_back(
        {service.view.name, view->cluster, view->address, view->port, change.ejected, change.failures, change.time});
    if (!change.ejected) {
      service.starting.restart({view->address, view->port, protocol});
    }
  }
}

void ServiceSet::end_shares(const ServiceName& name, const Inputs& inputs, Service& service) {
  service.starting.end([&](ClusterId cluster) { return inputs.ejected.count(cluster) != 0; });
  service.outliers.end();
  auto next = service.starting.next_step();
  if (const auto returns = service.outliers.next_return()) {
    next = next ? std::min(*next, *returns) : *returns;
  }
  if (next) {
    rises_[name] = *next;
  } else {
    rises_.erase(name);
  }
}

void ServiceSet::mark_outliers(Service& service, IpProtocol protocol, Family family,
                               std::vector<Candidate>& candidates) {
  if (!service.outliers.on()) {
    return;
  }
  for (Candidate& c : candidates) {
    if (c.fitness == Fitness::kActive && !c.unreachable) {
      const BackendId id = id_of(service, {c.address, c.port, protocol});
      service.outliers.see(id, {c.cluster->id, c.port, protocol, family});
      c.fitness = service.outliers.ejected_until(id) ? Fitness::kEjected : Fitness::kActive;
    }
  }
}

BackendId ServiceSet::id_of(Service& service, const BackendPlace& place) {
  const auto [id, inserted] = service.backend_ids.try_emplace(place);
  if (inserted) {
    id->second = backend_ids_.allocate();
  }
  return id->second;
}

std::set<ServiceName> ServiceSet::note(std::span<const OpeningOutcome> openings, bool lost,
                                       const std::set<ClusterId>& away, SlowStart::Time now) {
  std::set<ServiceName> heard;
  for (const OpeningOutcome& opening : openings) {
    const auto name = by_id_.find(opening.service);
    if (name == by_id_.end()) {
      continue;
    }
    Outliers& outliers = services_.at(name->second).outliers;
    const bool by_backend =
        opening.kind == OpeningOutcome::Kind::kAnswered || opening.kind == OpeningOutcome::Kind::kRefused;
    if (by_backend || away.count(outliers.cluster_of(opening.backend)) == 0) {
      outliers.note(opening, now);
      heard.insert(name->second);
    }
  }
  if (lost) {
    for (auto& [name, service] : services_) {
      service.outliers.begin_anew();
    }
  }
  std::erase_if(heard, [&](const ServiceName& name) { return !services_.at(name).outliers.due(now); });
  return heard;
}

std::size_t ServiceSet::ejected() const {
  std::size_t count = 0;
  for (const auto& [name, service] : services_) {
    count += service.outliers.ejected();
  }
  return count;
}

std::set<ServiceName> ServiceSet::rising_at(SlowStart::Time now) const {
  std::set<ServiceName> names;
  for (const auto& [name, at] : rises_) {
    if (at <= now) {
      names.insert(name);
    }
  }
  return names;
}

std::optional<SlowStart::Time> ServiceSet::next_rise() const {
  std::optional<SlowStart::Time> next;
  for (const auto& [name, at] : rises_) {
    next = next ? std::min(*next, at) : at;
  }
  return next;
}

}  // namespace isthmus
