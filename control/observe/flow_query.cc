#include "control/observe/flow_query.h"

#include <absl/strings/ascii.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "config/yaml/rfc3339.h"
#include "control/observe/cilium_names.h"

namespace isthmus {
namespace {

Error bad(std::string_view filter, const std::string& value, std::string fix) {
  return Error{"'" + value + "' is not a valid value of --" + std::string(filter), "filter", std::move(fix)};
}

template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  Number value{};
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failed == std::errc() && end == text.data() + text.size() && !text.empty() ? std::optional(value)
                                                                                    : std::nullopt;
}

constexpr std::int64_t kNsPerSecond = 1'000'000'000;

enum class End : std::uint8_t { kSource, kDestination, kEither };

// Passes flows whose chosen end passes.
FlowFilter at(End end, std::function<bool(const FlowParty&)> passes) {
  return [end, passes = std::move(passes)](const Flow& flow) {
    return (end != End::kDestination && passes(flow.source)) || (end != End::kSource && passes(flow.destination));
  };
}

FlowFilter of_pod(const std::string& value, End end) {
  const auto slash = value.find('/');
  std::string ns = slash == std::string::npos ? "" : value.substr(0, slash);
  std::string prefix = slash == std::string::npos ? value : value.substr(slash + 1);
  return at(end, [ns = std::move(ns), prefix = std::move(prefix)](const FlowParty& party) {
    return !party.names->pod.empty() && (ns.empty() || party.names->ns == ns) &&
           party.names->pod.compare(0, prefix.size(), prefix) == 0;
  });
}

Result<FlowFilter> of_identity(const std::string& value) {
  auto number = reserved_identity(value);
  if (const auto parsed = parse_number<std::uint32_t>(value); parsed) {
    number = Identity{*parsed};
  }
  if (!number) {
    return bad("identity", value, "write its number, or world, host, remote-node, ...");
  }
  return at(End::kEither, [id = *number](const FlowParty& party) { return party.identity == id; });
}

Result<FlowFilter> of_address(const std::string& value) {
  const auto prefix = Prefix::parse(value);
  if (!prefix) {
    return bad("ip", value, "write an address or a block, as 10.1.0.7 or fd00:1::/48");
  }
  return FlowFilter([prefix = *prefix](const Flow& flow) {
    const FlowEvent& e = flow.event;
    const auto in = [&](const IpAddress& a) { return prefix.contains(a); };
    return in(e.received.source) || in(e.received.destination) || in(e.translated.source) ||
           in(e.translated.destination);
  });
}

Result<FlowFilter> of_port(const std::string& value) {
  const auto port = parse_number<std::uint16_t>(value);
  if (!port || *port == 0) {
    return bad("port", value, "write a number from 1 to 65535");
  }
  return FlowFilter([port = L4Port{*port}](const Flow& flow) {
    const FlowEvent& e = flow.event;
    return e.received.source_port == port || e.received.destination_port == port || e.translated.source_port == port ||
           e.translated.destination_port == port;
  });
}

Result<FlowFilter> of_protocol(const std::string& value) {
  static const std::map<std::string, std::vector<IpProtocol>, std::less<>> kProtocols{
      {"tcp", {IpProtocol::kTcp}},           {"udp", {IpProtocol::kUdp}},
      {"sctp", {IpProtocol::kSctp}},         {"icmp", {IpProtocol::kIcmp, IpProtocol::kIcmpv6}},
      {"icmpv4", {IpProtocol::kIcmp}},       {"icmpv6", {IpProtocol::kIcmpv6}},
      {"gre", {IpProtocol::kGre}},           {"esp", {IpProtocol::kEsp}},
      {"ah", {IpProtocol::kAuthentication}},
  };
  const auto known = kProtocols.find(absl::AsciiStrToLower(value));
  const auto number = parse_number<std::uint8_t>(value);
  if (known == kProtocols.end() && !number) {
    return bad("protocol", value, "one of tcp, udp, sctp, icmp, icmpv4, icmpv6, gre, esp, ah, or a number below 256");
  }
  const auto wanted = number ? std::vector{static_cast<IpProtocol>(*number)} : known->second;
  return FlowFilter([protocols = wanted](const Flow& flow) {
    return std::find(protocols.begin(), protocols.end(), flow.event.protocol) != protocols.end();
  });
}

Result<FlowFilter> of_verdict(const std::string& value) {
  static const std::map<std::string, FlowVerdict, std::less<>> kVerdicts{
      {"forwarded", FlowVerdict::kForwarded}, {"dropped", FlowVerdict::kDropped}, {"audit", FlowVerdict::kAudited}};
  const auto known = kVerdicts.find(absl::AsciiStrToLower(value));
  if (known == kVerdicts.end()) {
    return bad("verdict", value, "one of forwarded, dropped, audit");
  }
  return FlowFilter([verdict = known->second](const Flow& flow) { return flow.event.verdict == verdict; });
}

bool names_drop(const DropCount& drop, const std::string& word) {
  const CiliumDrop* cilium = find_cilium_drop(drop.cilium_code);
  return drop.name == word || (drop.cilium_code != 0 && std::to_string(drop.cilium_code) == word) ||
         (cilium != nullptr && absl::AsciiStrToLower(std::string(cilium->name)) == word);
}

Result<FlowFilter> of_drop_reason(const std::string& value, std::span<const DropCount> drops) {
  const std::string word = absl::AsciiStrToLower(value);
  const bool known =
      std::any_of(drops.begin(), drops.end(), [&](const DropCount& drop) { return names_drop(drop, word); });
  if (!known && !drops.empty()) {
    return bad("drop-reason", value, "isthmus drops --all lists the reasons");
  }
  return FlowFilter([word](const Flow& flow) { return flow.drop != nullptr && names_drop(*flow.drop, word); });
}

Result<FlowFilter> filter_of(std::string_view name, const std::string& value, std::span<const DropCount> drops) {
  if (value.empty()) {
    return bad(name, value, "write a value");
  }
  if (name == "pod") {
    return of_pod(value, End::kEither);
  }
  if (name == "from-pod") {
    return of_pod(value, End::kSource);
  }
  if (name == "to-pod") {
    return of_pod(value, End::kDestination);
  }
  if (name == "namespace") {
    return at(End::kEither, [value](const FlowParty& party) { return party.names->ns == value; });
  }
  if (name == "cluster") {
    return at(End::kEither, [value](const FlowParty& party) { return party.names->cluster == value; });
  }
  if (name == "identity") {
    return of_identity(value);
  }
  if (name == "ip") {
    return of_address(value);
  }
  if (name == "port") {
    return of_port(value);
  }
  if (name == "protocol") {
    return of_protocol(value);
  }
  if (name == "verdict") {
    return of_verdict(value);
  }
  if (name == "drop-reason") {
    return of_drop_reason(value, drops);
  }
  return Error{"there is no filter '" + std::string(name) + "'", "filter", "isthmus flows --help lists them"};
}

std::optional<std::int64_t> parse_duration_ns(std::string_view text) {
  std::int64_t total = 0;
  while (!text.empty()) {
    const auto digits = text.find_first_not_of("0123456789");
    if (digits == 0 || digits == std::string_view::npos) {
      return std::nullopt;
    }
    constexpr std::int64_t kMaxNs = std::int64_t{1} << 61;  // 73 years; the sum of two still fits
    const auto count = parse_number<std::int64_t>(text.substr(0, digits));
    const auto unit = text.substr(digits, text.find_first_of("0123456789", digits) - digits);
    const std::int64_t ns = unit == "ms"  ? 1'000'000
                            : unit == "s" ? 1'000'000'000
                            : unit == "m" ? 60'000'000'000
                            : unit == "h" ? 3'600'000'000'000
                            : unit == "d" ? 86'400'000'000'000
                                          : 0;
    if (!count || ns == 0 || *count > kMaxNs / ns || total > kMaxNs) {
      return std::nullopt;
    }
    total += *count * ns;
    text.remove_prefix(digits + unit.size());
  }
  return total == 0 ? std::nullopt : std::optional(total);
}

}  // namespace

Result<FlowFilter> make_flow_filter(const FlowQuery& query, std::span<const DropCount> drops) {
  std::vector<std::vector<FlowFilter>> all;
  for (const auto& [name, values] : query.filters) {
    std::vector<FlowFilter> any;
    for (const std::string& value : values) {
      auto filter = filter_of(name, value, drops);
      if (!filter) {
        return filter.error();
      }
      any.push_back(std::move(*filter));
    }
    if (!any.empty()) {
      all.push_back(std::move(any));
    }
  }
  return FlowFilter([all = std::move(all)](const Flow& flow) {
    return std::all_of(all.begin(), all.end(), [&](const auto& any) {
      return std::any_of(any.begin(), any.end(), [&](const FlowFilter& filter) { return filter(flow); });
    });
  });
}

Status check_flow_query(const FlowQuery& query) {
  if (const auto filter = make_flow_filter(query, {}); !filter) {
    return filter.error();
  }
  if (!query.since.empty()) {
    if (const auto since = parse_since(query.since, 0); !since) {
      return since.error();
    }
  }
  return Ok{};
}

Result<std::int64_t> parse_since(std::string_view text, std::int64_t now_ns) {
  if (const auto ago = parse_duration_ns(text); ago) {
    return now_ns - *ago;
  }
  constexpr std::int64_t kLatest = std::numeric_limits<std::int64_t>::max() / kNsPerSecond;
  if (const auto time = parse_rfc3339(text); time && *time >= 0) {
    return std::min(*time, kLatest) * kNsPerSecond;
  }
  return bad("since", std::string(text),
             "write a time ago, such as 5m or 1h30m, or a time such as 2026-11-22T23:59:00Z");
}

}  // namespace isthmus
