// One cluster's services, exports and endpoint slices as objects of the model.
//
// A Service yields a ServiceObject and one SliceObject for each distinct set of ports among its backends. An export
// yields the ServiceObject if there is no Service of that name. The backends of a Service that Cilium derived from an
// exported one belong to the exported name. If the cluster's endpoint slices are used, they replace the Services'
// backends once they have been listed. Owner: ClusterImport. Thread: the etcd source's.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/model/objects.h"
#include "control/source/etcd/values.h"

namespace isthmus {

class ServiceImport {
 public:
  // Changes are appended to `out`, which outlives this object.
  ServiceImport(std::string cluster, std::vector<ObjectDelta>& out) : cluster_(std::move(cluster)), out_(out) {}

  void set_service(const std::string& suffix, std::optional<ServiceValue> value);
  void set_export(const std::string& suffix, std::optional<ServiceExportValue> value);
  void set_slice(const std::string& suffix, std::optional<EndpointSliceValue> value);
  // Whether backends come from the endpoint slices instead of the Services.
  void use_slices(bool use);
  [[nodiscard]] bool uses_slices() const { return use_slices_; }
  // One for each invalid address in a label isthmus.io/vip.
  [[nodiscard]] std::vector<SourceProblem> problems() const;

 private:
  using Name = std::pair<std::string, std::string>;  // namespace, name

  [[nodiscard]] ObjectKey key(ObjectKind kind, const Name& name) const;
  void emit(ObjectKind kind, const Name& name, std::optional<ObjectValue> value, const std::string& resource);
  // The name that the backends of `service` belong to.
  [[nodiscard]] std::string target_of(const Name& service) const;
  void refresh_service(const Name& name);
  void refresh_service_slices(const Name& name);
  void refresh_slice(const Name& name);
  void refresh_slices_of(const Name& service);

  std::string cluster_;
  std::vector<ObjectDelta>& out_;
  bool use_slices_ = false;
  std::map<Name, ServiceValue> services_;
  std::map<Name, ServiceExportValue> exports_;
  std::map<Name, EndpointSliceValue> slices_;
  std::map<Name, std::set<std::string>> slices_by_service_;  // service → names of its slices
  std::set<Name> emitted_services_;
  std::map<Name, std::size_t> emitted_service_slices_;  // Service → number of slices emitted for its backends
  std::set<Name> emitted_slices_;
  std::set<Name> unreadable_;  // Services with an invalid label isthmus.io/vip
};

}  // namespace isthmus
