// Shared by the decoders of services, exports and slices. Internal to this folder. Thread: any.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/source/etcd/values.h"

namespace isthmus {

// Label of a Service that Cilium derived from an exported one: the exported Service's name.
inline constexpr const char* kDerivedLabel = "multicluster.kubernetes.io/service-name";

// Sorts by name, protocol and number, and removes duplicates.
void sort_ports(std::vector<ServicePort>& ports);
// Why the names in a value do not match its key and cluster; empty: they do.
[[nodiscard]] std::string check_service_key(const EtcdValueContext& context, std::string_view suffix,
                                            const std::string& cluster, const std::string& ns, const std::string& name);

}  // namespace isthmus
