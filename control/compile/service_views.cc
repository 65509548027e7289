// ServiceSet: what it tells of its services.
#include <algorithm>

#include "control/compile/listing.h"
#include "control/compile/services.h"

namespace isthmus {

void ServiceSet::visit_views(const std::function<bool(const ServiceView&)>& visit) const {
  for (const auto& [name, service] : services_) {
    ServiceView view = service.view;
    view.rules = service.rules;
    for (const auto& [key, state] : service.ports) {
      view.ports.push_back(state.view);
    }
    if (!visit(view)) {
      return;
    }
  }
}

std::vector<ServiceView> ServiceSet::views() const {
  std::vector<ServiceView> views;
  visit_views([&](const ServiceView& view) {
    views.push_back(view);
    return true;
  });
  return views;
}

std::vector<ServiceView> ServiceSet::views_without_ports() const {
  std::vector<ServiceView> views;
  views.reserve(services_.size());
  for (const auto& [name, service] : services_) {
    views.push_back(service.view);
  }
  return views;
}

std::size_t ServiceSet::frontends() const {
  std::size_t count = 0;
  for (const auto& [name, service] : services_) {
    count += service.frontends.size();
  }
  return count;
}

std::string ServiceSet::name_of(ServiceId id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? "" : it->second.text();
}

std::set<ServiceName> ServiceSet::members_of(const std::string& cluster) const {
  std::set<ServiceName> names;
  for (const auto& [name, service] : services_) {
    if (std::any_of(service.view.members.begin(), service.view.members.end(),
                    [&](const ServiceMember& m) { return m.cluster == cluster; })) {
      names.insert(name);
    }
  }
  return names;
}

std::set<ServiceName> ServiceSet::names() const {
  std::set<ServiceName> names;
  for (const auto& [name, service] : services_) {
    names.insert(name);
  }
  return names;
}

void ServiceSet::append_problems(std::vector<Problem>& problems) const {
  list_problems(invalid_, "services with problems", problems, [&](const ServiceName& name, auto& list) {
    const Service& service = services_.at(name);
    list.insert(list.end(), service.problems.begin(), service.problems.end());
  });
}

}  // namespace isthmus
