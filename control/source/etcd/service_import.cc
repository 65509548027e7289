#include "control/source/etcd/service_import.h"

#include <utility>

#include "control/source/etcd/problem.h"

namespace isthmus {
namespace {

std::pair<std::string, std::string> split(const std::string& suffix) {
  const std::size_t slash = suffix.find('/');
  return slash == std::string::npos ? std::pair(std::string(), suffix)
                                    : std::pair(suffix.substr(0, slash), suffix.substr(slash + 1));
}

template <typename Map, typename Key, typename Value>
void store(Map& map, const Key& key, std::optional<Value>&& value) {
  if (value) {
    map[key] = std::move(*value);
  } else {
    map.erase(key);
  }
}

}  // namespace

ObjectKey ServiceImport::key(ObjectKind kind, const Name& name) const {
  return {kind, cluster_, name.first, name.second};
}

void ServiceImport::emit(ObjectKind kind, const Name& name, std::optional<ObjectValue> value,
                         const std::string& resource) {
  out_.push_back({key(kind, name),
                  std::move(value),
                  {"cluster " + cluster_ + ": " + resource + "/" + name.first + "/" + name.second, 0}});
}

std::string ServiceImport::target_of(const Name& service) const {
  const auto found = services_.find(service);
  return found == services_.end() || found->second.derived_from.empty() ? service.second : found->second.derived_from;
}

void ServiceImport::set_service(const std::string& suffix, std::optional<ServiceValue> value) {
  const Name name = split(suffix);
  const std::string target_before = target_of(name);
  if (value && !value->unreadable_vips.empty()) {
    unreadable_.insert(name);
  } else {
    unreadable_.erase(name);
  }
  store(services_, name, std::move(value));
  refresh_service(name);
  refresh_service_slices(name);
  if (target_of(name) != target_before) {
    refresh_slices_of(name);
  }
}

void ServiceImport::set_export(const std::string& suffix, std::optional<ServiceExportValue> value) {
  const Name name = split(suffix);
  store(exports_, name, std::move(value));
  refresh_service(name);
}

void ServiceImport::set_slice(const std::string& suffix, std::optional<EndpointSliceValue> value) {
  const Name name = split(suffix);
  std::set<Name> services;
  if (const auto before = slices_.find(name); before != slices_.end()) {
    const Name service{name.first, before->second.object.service};
    slices_by_service_[service].erase(name.second);
    if (slices_by_service_[service].empty()) {
      slices_by_service_.erase(service);
    }
    services.insert(service);
  }
  if (value) {
    const Name service{name.first, value->object.service};
    slices_by_service_[service].insert(name.second);
    services.insert(service);
  }
  store(slices_, name, std::move(value));
  refresh_slice(name);
  for (const Name& service : services) {
    refresh_service(service);
  }
}

void ServiceImport::use_slices(bool use) {
  if (std::exchange(use_slices_, use) == use) {
    return;
  }
  // Removals before additions: a slice may have the name of a Service.
  const auto refresh_backends = [&] {
    for (const auto& [name, service] : services_) {
      refresh_service_slices(name);
    }
  };
  if (use) {
    refresh_backends();
  }
  for (const auto& [name, slice] : slices_) {
    refresh_slice(name);
  }
  for (const auto& [name, slices] : slices_by_service_) {
    refresh_service(name);
  }
  if (!use) {
    refresh_backends();
  }
}

void ServiceImport::refresh_service(const Name& name) {
  const auto plain = services_.find(name);
  const auto exported = exports_.find(name);
  if (plain != services_.end() && plain->second.derived_from.empty()) {
    emit(ObjectKind::kService, name, plain->second.object, "services");
  } else if (exported != exports_.end()) {
    emit(ObjectKind::kService, name, exported->second.object, "serviceexports");
  } else if (use_slices_ && plain == services_.end() && slices_by_service_.contains(name)) {
    // A cluster that publishes only slices does not publish a Service's own ports; another cluster's Service defines
    // them.
    ServiceObject object;
    object.global = true;
    emit(ObjectKind::kService, name, object, "endpointslices");
  } else if (emitted_services_.erase(name) > 0) {
    emit(ObjectKind::kService, name, std::nullopt, "services");
    return;
  } else {
    return;
  }
  emitted_services_.insert(name);
}

// One slice for each set of ports, named after the Service: name, name.2, name.3 (a Service's name has no dots).
void ServiceImport::refresh_service_slices(const Name& name) {
  const auto service = services_.find(name);
  const bool use_backends = service != services_.end() && !use_slices_;
  const std::size_t now = use_backends ? service->second.slices.size() : 0;
  const auto slice_name = [&](std::size_t index) {
    return Name{name.first, index == 0 ? name.second : name.second + "." + std::to_string(index + 1)};
  };
  for (std::size_t i = 0; i < now; ++i) {
    SliceObject slice = service->second.slices[i];
    slice.service = target_of(name);
    emit(ObjectKind::kSlice, slice_name(i), std::move(slice), "services");
  }
  const auto before = emitted_service_slices_.find(name);
  for (std::size_t i = now; before != emitted_service_slices_.end() && i < before->second; ++i) {
    emit(ObjectKind::kSlice, slice_name(i), std::nullopt, "services");
  }
  if (now > 0) {
    emitted_service_slices_[name] = now;
  } else {
    emitted_service_slices_.erase(name);
  }
}

void ServiceImport::refresh_slice(const Name& name) {
  const auto slice = slices_.find(name);
  if (slice != slices_.end() && use_slices_) {
    SliceObject object = slice->second.object;
    object.service =
        slice->second.derived_from.empty() ? target_of({name.first, object.service}) : slice->second.derived_from;
    emit(ObjectKind::kSlice, name, std::move(object), "endpointslices");
    emitted_slices_.insert(name);
  } else if (emitted_slices_.erase(name) > 0) {
    emit(ObjectKind::kSlice, name, std::nullopt, "endpointslices");
  }
}

void ServiceImport::refresh_slices_of(const Name& service) {
  if (const auto found = slices_by_service_.find(service); found != slices_by_service_.end()) {
    for (const std::string& slice : found->second) {
      refresh_slice({service.first, slice});
    }
  }
}

std::vector<SourceProblem> ServiceImport::problems() const {
  std::vector<SourceProblem> problems;
  for (const Name& name : unreadable_) {
    for (const std::string& vip : services_.at(name).unreadable_vips) {
      SourceProblem problem = problem_at("cluster " + cluster_ + ": services/" + name.first + "/" + name.second,
                                         "the label isthmus.io/vip holds an invalid address: " + vip,
                                         "write addresses joined by '_', IPv6 with '-' for ':' (192.0.2.1_fd00--1)");
      problem.object = key(ObjectKind::kService, name);
      problems.push_back(std::move(problem));
    }
  }
  return problems;
}

}  // namespace isthmus
