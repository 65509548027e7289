// A brute-force reference evaluator of network policy. Policies are plain values, written to YAML for the gateway and
// evaluated here rule by rule, label by label. Shares no code with control/policy or the manifest readers.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace isthmus::policy_reference {

// One address of the fleet.
struct Who {
  std::string cluster, name;
  std::uint32_t address = 0;   // IPv4, host order
  std::uint32_t identity = 0;  // as on the wire
  bool node = false;
  bool labelled = false;                      // its labels are known
  bool local = false;                         // from its Pod and Namespace alone: it has no CiliumEndpoint
  std::map<std::string, std::string> labels;  // with namespace and cluster; without labels, the cluster only
  std::uint16_t http = 0;                     // number of its TCP port named http; 0: none
};

struct Condition {
  enum class Operator : std::uint8_t { kIn, kNotIn, kExists, kDoesNotExist };
  std::string key;
  Operator op = Operator::kIn;
  std::vector<std::string> values;
};
using Selector = std::vector<Condition>;

struct Block {
  std::uint32_t address = 0;
  unsigned length = 0;
  std::vector<std::pair<std::uint32_t, unsigned>> except;
};

struct Port {
  std::string protocol;  // "TCP", "UDP", "SCTP", "ANY", or "ICMP"
  std::uint16_t first = 0, last = 0;
  bool named = false;  // the port named http
};

struct Rule {
  enum class Peers : std::uint8_t { kUnspecified, kSelectors, kEntities, kBlocks };
  bool egress = false, deny = false;
  Peers peers = Peers::kUnspecified;
  std::vector<Selector> selectors;
  std::vector<std::string> entities;
  std::vector<Block> blocks;
  std::vector<Port> ports;
};

struct Policy {
  enum class Kind : std::uint8_t { kCilium, kClusterwide, kKubernetes };
  Kind kind = Kind::kCilium;
  std::string name, ns;
  Selector subjects;
  std::vector<Rule> rules;
  std::optional<bool> deny_ingress, deny_egress;  // Cilium: enableDefaultDeny; Kubernetes: policyTypes
};

struct Packet {
  const Who *from = nullptr, *to = nullptr;
  std::uint8_t protocol = 0;  // 6, 17, 132 or 1 (echo request)
  std::uint16_t source_port = 0, port = 0;
};

// The policy as a manifest.
[[nodiscard]] std::string manifest(const Policy& policy);

// Decides whether a packet passes, by the policies of cluster east.
class Evaluator {
 public:
  explicit Evaluator(const std::vector<Policy>& policies) : policies_(policies) {}
  [[nodiscard]] bool passes(const Packet& packet) const;

 private:
  [[nodiscard]] bool direction(const Packet& packet, bool egress) const;
  [[nodiscard]] bool matches(const Policy& policy, const Rule& rule, const Packet& packet) const;
  [[nodiscard]] static bool selects_peer(const Policy& policy, const Rule& rule, const Who& peer);

  const std::vector<Policy>& policies_;
};

}  // namespace isthmus::policy_reference
