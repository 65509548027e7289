// The input of the kind readers, and helpers that several kinds share. For this folder and for sources that read kinds
// of their own. Pure; thread: any.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/yaml/read.h"
#include "control/model/objects.h"

namespace isthmus {

// One object's tree and its metadata. Errors go to root.errors().
struct ObjectText {
  const YamlMap& root;
  const YamlMap& metadata;
  const YamlMap& labels;
  const YamlMap& annotations;
  std::string name, ns;
};

// Reads the value of an object. No value and no error: the object is irrelevant here and is ignored.
using KindReader = std::optional<ObjectValue> (*)(const ObjectText& in);

// The text of the first of the two annotations that exists; nothing when neither does.
struct Annotation {
  std::string key, text;
  unsigned line = 0;
};
[[nodiscard]] std::optional<Annotation> find_annotation(const ObjectText& in, std::string_view key,
                                                        std::string_view older_key = {});
[[nodiscard]] std::map<std::string, std::string> string_map(const YamlMap& map);
// The words of an annotation isthmus.io/vip, without the blanks around them: one for each address, one at least.
[[nodiscard]] std::vector<std::string_view> claim_words(std::string_view text);
// metadata.creationTimestamp (RFC 3339) in seconds since 1970; 0 when absent.
[[nodiscard]] std::int64_t read_created(const ObjectText& in);

enum class PortRule : std::uint8_t { kRequired, kMayBeAbsent };
// spec.ports of a Service or ServiceImport, ports of an EndpointSlice. With kMayBeAbsent, a port without a number (an
// EndpointSlice's "all ports") is skipped.
[[nodiscard]] std::vector<ServicePort> read_ports(const std::vector<YamlNode>& list, const std::string& path,
                                                  PortRule rule, YamlErrors& errors);
[[nodiscard]] std::vector<Prefix> read_prefixes(const std::vector<YamlNode>& list, const std::string& path,
                                                YamlErrors& errors);
// Appends `value` unless the list contains it.
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
// Of ConfigMaps only the agents' configuration is read.
inline constexpr std::string_view kAgentConfigNamespace = "kube-system", kAgentConfigName = "cilium-config";
[[nodiscard]] std::optional<ObjectValue> read_agent_config(const ObjectText& in);
// Policies. With a namespace: CiliumNetworkPolicy; without: CiliumClusterwideNetworkPolicy.
[[nodiscard]] std::optional<ObjectValue> read_cilium_policy(const ObjectText& in);
[[nodiscard]] std::optional<ObjectValue> read_network_policy(const ObjectText& in);
[[nodiscard]] std::optional<ObjectValue> read_cidr_group(const ObjectText& in);

}  // namespace isthmus
