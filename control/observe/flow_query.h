// A query for flows, and the filter made from it.
//
// A flow passes when it matches every named filter; a filter matches when one of its values does. Thread: any; a filter
// is immutable. Failure: a value that cannot be parsed is an error that names the filter.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "control/observe/flow.h"

namespace isthmus {

struct FlowFilterName {
  std::string_view name, value, help;
};
// All filters: name, form of a value, and what passes.
inline constexpr std::array<FlowFilterName, 11> kFlowFilters{{
    {"pod", "[NAMESPACE/]NAME", "From or to a pod whose name begins with this, in any namespace if none is named"},
    {"from-pod", "[NAMESPACE/]NAME", "From such a pod only"},
    {"to-pod", "[NAMESPACE/]NAME", "To such a pod only"},
    {"namespace", "NAME", "From or to a pod of this namespace"},
    {"cluster", "NAME", "From or to this cluster"},
    {"identity", "NUMBER", "From or to this identity: a number, or a reserved one's name (world, host, ...)"},
    {"ip", "IP|CIDR", "From or to this address, before or after translation"},
    {"port", "PORT", "From or to this L4 port, before or after translation"},
    {"protocol", "NAME", "tcp, udp, sctp, icmp (both), icmpv4, icmpv6, gre, esp, ah or a number"},
    {"verdict", "VERDICT", "forwarded, dropped or audit"},
    {"drop-reason", "REASON", "Dropped for this reason: its name, Cilium's name, or Cilium's number"},
}};

struct FlowQuery {
  bool follow = false;           // continue with flows as they happen
  std::optional<unsigned> last;  // how many of the kept ones; absent: 20, or none when following
  std::string since;             // "5m" ago, or a time as in RFC 3339; empty: no bound. With `last`, both bound
  std::map<std::string, std::vector<std::string>, std::less<>> filters;  // by name, values
};

inline constexpr unsigned kDefaultLastFlows = 20, kMaxLastFlows = 65535;

using FlowFilter = std::function<bool(const Flow&)>;

// Checks a query as far as that is possible without a gateway.
[[nodiscard]] Status check_flow_query(const FlowQuery& query);

// `drops`: all drop reasons; where empty, the name of a reason is not checked.
[[nodiscard]] Result<FlowFilter> make_flow_filter(const FlowQuery& query, std::span<const DropCount> drops);

// The time that `text` names, in nanoseconds since 1970.
[[nodiscard]] Result<std::int64_t> parse_since(std::string_view text, std::int64_t now_ns);

}  // namespace isthmus
