// Parts that the policy kinds share: label selectors, peers, ports. Whatever we cannot enforce is an error that names
// it, never skipped: a rule that lost a condition would allow more than was written. Internal to this folder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/yaml/read.h"
#include "control/model/policy_objects.h"

namespace isthmus {

inline constexpr std::string_view kPodNamespaceKey = "io.kubernetes.pod.namespace";
inline constexpr std::string_view kNamespaceLabelsPrefix = "io.cilium.k8s.namespace.labels.";

// Whether the text is without quotes and YAML takes it for a number or a boolean.
[[nodiscard]] bool is_bare_number_or_boolean(const YamlNode& node);
// matchLabels and matchExpressions of `map`. A key without a source ("k8s:") gets `source`; every key gets `prefix`.
// The label `skipped` of matchLabels is left out.
[[nodiscard]] LabelSelector read_label_selector(const YamlMap& map, std::string_view source,
                                                std::string_view prefix = {}, std::string_view skipped = {});
[[nodiscard]] bool has_key(const LabelSelector& selector, std::string_view source, std::string_view key);
// Whether a requirement on pod label `key` exists: source k8s or any.
[[nodiscard]] bool has_pod_key(const LabelSelector& selector, std::string_view key);
void require_label(LabelSelector& selector, std::string_view key, std::string_view value);
// Nothing is added where a requirement of the selector implies it.
void require_presence(LabelSelector& selector, std::string_view key);
// Sorts the requirements and removes duplicates, so that equal selectors compare equal.
void normalize(LabelSelector& selector);

enum class CidrForm : std::uint8_t { kPrefixOrAddress, kPrefix };
// Host bits are cleared.
[[nodiscard]] std::optional<Prefix> read_cidr(const YamlNode& node, const std::string& path, YamlErrors& errors,
                                              CidrForm form = CidrForm::kPrefixOrAddress);
[[nodiscard]] std::vector<PolicyCidr> read_cidr_list(const std::vector<YamlNode>& list, const std::string& path,
                                                     YamlErrors& errors);
// cidr, cidrGroupRef or cidrGroupSelector, with except.
[[nodiscard]] std::vector<PolicyCidr> read_cidr_sets(const std::vector<YamlNode>& list, const std::string& path,
                                                     YamlErrors& errors);
// The prefixes of `except`; each must lie within `whole`, if given.
[[nodiscard]] std::vector<Prefix> read_except(const YamlMap& map, const std::optional<Prefix>& whole);
[[nodiscard]] std::vector<PolicyEntity> read_entities(const std::vector<YamlNode>& list, const std::string& path,
                                                      YamlErrors& errors);
[[nodiscard]] std::vector<PolicyService> read_services(const std::vector<YamlNode>& list, const std::string& path,
                                                       YamlErrors& errors);

// Keeps a policy with errors from opening what a correct one closes: a rule with errors allows nothing, or denies
// everybody. Made before what it watches is read.
class RefusalGuard {
 public:
  explicit RefusalGuard(const YamlErrors& errors) : errors_(errors), before_(errors.size()) {}
  // Whether an error other than a warning was added since.
  [[nodiscard]] bool has_errors() const;
  // Appends the rule to `out` in the form that may be applied.
  void add_rule(PolicyRule rule, PolicySpec& out) const;

 private:
  const YamlErrors& errors_;
  std::size_t before_;
};

// toPorts and icmps of a rule of a Cilium policy.
void read_cilium_ports(const YamlMap& rule, PolicyRule& out);
// ports of a rule of a NetworkPolicy.
void read_kubernetes_ports(const YamlMap& rule, PolicyRule& out);

}  // namespace isthmus
