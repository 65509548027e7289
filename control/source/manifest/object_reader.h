// What the readers of the kinds are given, and the pieces that several kinds share. For this folder, and for
// sources with kinds of their own.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/yaml/read.h"
#include "control/model/objects.h"

namespace isthmus {

// One object's tree with its metadata opened. Faults go to root.faults().
struct ObjectText {
  const YamlMap& root;
  const YamlMap& metadata;
  const YamlMap& labels;
  const YamlMap& annotations;
  std::string name, name_space;
};

// Reads the value of an object. Nothing without a fault: the object says nothing for us, as if it were not there.
using KindReader = std::optional<ObjectValue> (*)(const ObjectText& in);

// The first of the two keys that is there, as text; `line` gets its line. Nothing when neither is.
struct Annotation {
  std::string key, text;
  unsigned line = 0;
};
[[nodiscard]] std::optional<Annotation> find_annotation(const ObjectText& in, std::string_view key,
                                                        std::string_view older_key = {});
[[nodiscard]] std::map<std::string, std::string> string_map(const YamlMap& map);
// metadata.creationTimestamp (RFC 3339) in seconds since 1970; 0 when absent.
[[nodiscard]] std::int64_t read_created(const ObjectText& in);
[[nodiscard]] std::optional<std::int64_t> parse_rfc3339(std::string_view text);

enum class PortRule : std::uint8_t { kRequired, kMayBeAbsent };
// spec.ports of a Service and a ServiceImport, ports of an EndpointSlice. A port without a number is left out where
// that is allowed (the slice's "all ports").
[[nodiscard]] std::vector<ServicePort> read_ports(const std::vector<YamlNode>& list, const std::string& path,
                                                  PortRule rule, YamlFaults& faults);
[[nodiscard]] std::vector<Prefix> read_prefixes(const std::vector<YamlNode>& list, const std::string& path,
                                                YamlFaults& faults);
// Appends what is not in the list yet.
template <typename T>
void append_once(std::vector<T>& list, const T& value) {
  for (const T& present : list) {
    if (present == value) {
      return;
    }
  }
  list.push_back(value);
}
[[nodiscard]] std::string item_path(std::string_view path, std::size_t index);

// isthmus.io/v1alpha1
[[nodiscard]] std::optional<ObjectValue> read_cluster(const ObjectText& in);
[[nodiscard]] std::optional<ObjectValue> read_gateway(const ObjectText& in);
[[nodiscard]] std::optional<ObjectValue> read_profile(const ObjectText& in);
// Kubernetes
[[nodiscard]] std::optional<ObjectValue> read_namespace(const ObjectText& in);
[[nodiscard]] std::optional<ObjectValue> read_service(const ObjectText& in);
[[nodiscard]] std::optional<ObjectValue> read_slice(const ObjectText& in);
[[nodiscard]] std::optional<ObjectValue> read_service_import(const ObjectText& in);
[[nodiscard]] std::optional<ObjectValue> read_pod(const ObjectText& in);
[[nodiscard]] std::optional<ObjectValue> read_node(const ObjectText& in);
// Cilium
[[nodiscard]] std::optional<ObjectValue> read_cilium_endpoint(const ObjectText& in);
[[nodiscard]] std::optional<ObjectValue> read_cilium_identity(const ObjectText& in);
[[nodiscard]] std::optional<ObjectValue> read_cilium_node(const ObjectText& in);
// Policies. With a namespace: CiliumNetworkPolicy; without: CiliumClusterwideNetworkPolicy.
[[nodiscard]] std::optional<ObjectValue> read_cilium_policy(const ObjectText& in);
[[nodiscard]] std::optional<ObjectValue> read_network_policy(const ObjectText& in);
[[nodiscard]] std::optional<ObjectValue> read_cidr_group(const ObjectText& in);

}  // namespace isthmus
