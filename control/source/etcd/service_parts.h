// What the readers of services, exports and slices share. Internal to this folder. Thread: any.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/source/etcd/values.h"

namespace isthmus {

// On a Service that Cilium derived from an exported one: that one's name.
inline constexpr const char* kDerivedLabel = "multicluster.kubernetes.io/service-name";

// By name, protocol and number, each once.
void sort_ports(std::vector<ServicePort>& ports);
// What is wrong with the names in a value, if anything.
[[nodiscard]] std::string check_service_key(const EtcdValueContext& context, std::string_view tail,
                                            const std::string& cluster, const std::string& name_space,
                                            const std::string& name);

}  // namespace isthmus
