// Which flows somebody asks for: the words of the question, and the filter they make.
//
// A flow passes when every named filter passes; a filter passes when one of its values does. Thread: any; a filter
// never changes. Failure: a value that cannot be understood is an error that names the filter.
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
// The filters there are: their name, the form of a value, and what passes.
inline constexpr std::array<FlowFilterName, 11> kFlowFilters{{
    {"pod", "[NAMESPACE/]NAME", "From or to a pod whose name begins so; without a namespace: of any"},
    {"from-pod", "[NAMESPACE/]NAME", "From such a pod"},
    {"to-pod", "[NAMESPACE/]NAME", "To such a pod"},
    {"namespace", "NAME", "From or to a pod of this namespace"},
    {"cluster", "NAME", "From or to this cluster"},
    {"identity", "NUMBER", "From or to this identity: a number, or a reserved one's name (world, host, ...)"},
    {"ip", "IP|CIDR", "From or to this address, before or behind the translation"},
    {"port", "PORT", "From or to this L4 port, before or behind the translation"},
    {"protocol", "NAME", "tcp, udp, sctp, icmp (both), icmpv4 or icmpv6"},
    {"verdict", "VERDICT", "forwarded, dropped or audit"},
    {"drop-reason", "REASON", "Dropped for this reason: its name, Cilium's name, or Cilium's number"},
}};

struct FlowQuery {
  bool follow = false;           // go on with flows as they come
  std::optional<unsigned> last;  // how many of those that are there; absent: 20, or none when following
  std::string since;             // "5m" ago, or a time as in RFC 3339; empty: no bound. `last` bounds as well if given
  std::map<std::string, std::vector<std::string>, std::less<>> filters;  // by name, values
};

inline constexpr unsigned kDefaultLastFlows = 20, kMaxLastFlows = 65535;

using FlowFilter = std::function<bool(const Flow&)>;

// Whether a gateway could understand it, as far as can be told without one.
[[nodiscard]] Status check_flow_query(const FlowQuery& query);

// `drops`: the reasons there are; without any, a reason's name is taken as it is.
[[nodiscard]] Result<FlowFilter> make_flow_filter(const FlowQuery& query, std::span<const DropCount> drops);

// The time that `text` names, in nanoseconds since 1970.
[[nodiscard]] Result<std::int64_t> parse_since(std::string_view text, std::int64_t now_ns);

}  // namespace isthmus
