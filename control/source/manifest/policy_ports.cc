// Ports and ICMP types of policies.
#include <absl/strings/ascii.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <utility>

#include "control/source/manifest/object_reader.h"
#include "control/source/manifest/policy_reader.h"

namespace isthmus {
namespace {

constexpr std::size_t kMaxPorts = 40;  // per list, as in Cilium
constexpr std::uint8_t kTcp = 6, kUdp = 17, kSctp = 132, kIcmp = 1, kIcmpv6 = 58;

// An IANA service name: letters, digits and single hyphens inside, one letter at least, 15 characters at most.
bool is_port_name(std::string_view text) {
  const auto alphanumeric = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; };
  return !text.empty() && text.size() <= 15 && alphanumeric(text.front()) && alphanumeric(text.back()) &&
         text.find("--") == std::string_view::npos &&
         std::all_of(text.begin(), text.end(), [&](char c) { return alphanumeric(c) || c == '-'; }) &&
         std::any_of(text.begin(), text.end(), [](char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; });
}

std::optional<std::uint16_t> port_number(std::string_view text) {
  std::uint16_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::toupper(c); });
  return text;
}

// The protocols that a port applies to; ANY are those that have ports. Empty for others, with an error.
std::vector<std::uint8_t> read_protocols(const YamlMap& item, std::string_view default_protocol) {
  const YamlNode* node = item.get("protocol");
  const std::string text = node == nullptr ? std::string(default_protocol) : upper(item.text("protocol"));
  if (text == "TCP") {
    return {kTcp};
  }
  if (text == "UDP") {
    return {kUdp};
  }
  if (text == "SCTP") {
    return {kSctp};
  }
  if (text == "ANY" && default_protocol == "ANY") {
    return {kTcp, kUdp, kSctp};
  }
  const unsigned line = node == nullptr ? item.line() : node->line;
  if (text == "ICMP" || text == "ICMPV6") {
    item.error(line, item.path("protocol") + " is " + text + ", which has no ports", "write an icmps: rule");
  } else {
    item.error(line, item.path("protocol") + " is " + shown(text) + ", which is not supported",
               default_protocol == "ANY" ? "write TCP, UDP, SCTP or ANY" : "write TCP, UDP or SCTP");
  }
  return {};
}

// Appends one port of a list, an entry per protocol. Number 0 is every port.
void add_port(const YamlMap& item, const std::string& text, unsigned line, const std::vector<std::uint8_t>& protocols,
              std::vector<PolicyPort>& out) {
  PolicyPort port;
  const auto number = port_number(text);
  const YamlNode* end = item.get("endPort");
  if (number && text.size() > 1 && text.front() == '0') {
    item.error(line, item.path("port") + " is " + shown(text) + ", which others read as an octal number",
               "write the number without zeros in front");
    return;
  }
  if (number) {
    port.first = *number;
    port.last = *number == 0 ? std::uint16_t{65535} : *number;
  } else if (is_port_name(text)) {
    port.name = absl::AsciiStrToLower(text);
  } else {
    item.error(line, item.path("port") + " is " + shown(text) + ", neither a number nor a valid name",
               "write a number, 0 to 65535, or the name of a container port");
    return;
  }
  if (end != nullptr && end->text != "0") {
    const auto last = read_number(*end, item.path("endPort"), 1, 65535, item.errors());
    if (!number || *number == 0) {
      item.error(end->line, item.path("endPort") + " is given, but port is not a number",
                 "write the first port of the range as a number, or remove endPort");
    } else if (last && *last < *number) {
      item.error(end->line, item.path("endPort") + " is smaller than port", "write the larger number as endPort");
    } else if (last) {
      port.last = static_cast<std::uint16_t>(*last);
    }
  }
  for (const std::uint8_t protocol : protocols) {
    port.protocol = protocol;
    append_once(out, port);
  }
}

// Rejects the parts of toPorts that we cannot enforce.
void reject_layer7(const YamlMap& item) {
  for (const std::string_view key : {"rules", "serverNames", "terminatingTLS", "originatingTLS", "listener"}) {
    const YamlNode* node = item.get(key);
    if (node != nullptr && !(node->keys.empty() && node->items.empty() && node->text.empty())) {
      item.error(node->line, item.path(key) + " is not supported: Isthmus enforces addresses, identities and ports",
                 "remove it, or enforce this policy with Cilium on the nodes");
    }
  }
}

void read_to_ports(const YamlMap& rule, PolicyRule& out) {
  const auto& list = rule.list("toPorts");
  for (std::size_t i = 0; i < list.size(); ++i) {
    const YamlMap item(&list[i], item_path(rule.path("toPorts"), i), list[i].line, rule.errors());
    item.reject_others({"ports", "rules", "serverNames", "terminatingTLS", "originatingTLS", "listener"});
    reject_layer7(item);
    const auto& ports = item.list("ports");
    if (ports.size() > kMaxPorts) {
      item.error(item.line(), item.path("ports") + " has more than " + std::to_string(kMaxPorts) + " ports",
                 "split the list in two");
    }
    if (ports.empty()) {
      item.warn(list[i].line, item.path() + " lists no ports, so it matches nothing",
                "write ports:, or remove toPorts to match every port");
    }
    for (std::size_t p = 0; p < ports.size(); ++p) {
      const YamlMap port(&ports[p], item_path(item.path("ports"), p), ports[p].line, rule.errors());
      port.reject_others({"port", "endPort", "protocol"});
      const YamlNode* number = port.require("port", "write a number or a name; \"0\" is every port");
      const auto protocols = read_protocols(port, "ANY");
      if (number != nullptr && is_bare_number_or_boolean(*number)) {
        port.error(number->line, port.path("port") + " is " + number->text + ", which must be text",
                   "write it in quotes: " + shown(number->text));
      } else if (number != nullptr) {
        add_port(port, port.text("port"), number->line, protocols, out.ports);
      }
    }
  }
}

struct IcmpName {
  std::string_view name;
  std::uint8_t type;
};
// Names of the IANA registries, as Cilium spells them.
constexpr std::array<IcmpName, 16> kIcmpNames{{{"EchoReply", 0},
                                               {"DestinationUnreachable", 3},
                                               {"Redirect", 5},
                                               {"Echo", 8},
                                               {"EchoRequest", 8},
                                               {"RouterAdvertisement", 9},
                                               {"RouterSelection", 10},
                                               {"TimeExceeded", 11},
                                               {"ParameterProblem", 12},
                                               {"Timestamp", 13},
                                               {"TimestampReply", 14},
                                               {"Photuris", 40},
                                               {"ExtendedEchoRequest", 42},
                                               {"ExtendedEcho Request", 42},
                                               {"ExtendedEchoReply", 43},
                                               {"ExtendedEcho Reply", 43}}};
constexpr std::array<IcmpName, 33> kIcmpv6Names{{{"DestinationUnreachable", 1},
                                                 {"PacketTooBig", 2},
                                                 {"TimeExceeded", 3},
                                                 {"ParameterProblem", 4},
                                                 {"EchoRequest", 128},
                                                 {"EchoReply", 129},
                                                 {"MulticastListenerQuery", 130},
                                                 {"MulticastListenerReport", 131},
                                                 {"MulticastListenerDone", 132},
                                                 {"RouterSolicitation", 133},
                                                 {"RouterAdvertisement", 134},
                                                 {"NeighborSolicitation", 135},
                                                 {"NeighborAdvertisement", 136},
                                                 {"RedirectMessage", 137},
                                                 {"RouterRenumbering", 138},
                                                 {"ICMPNodeInformationQuery", 139},
                                                 {"ICMPNodeInformationResponse", 140},
                                                 {"InverseNeighborDiscoverySolicitation", 141},
                                                 {"InverseNeighborDiscoveryAdvertisement", 142},
                                                 {"HomeAgentAddressDiscoveryRequest", 144},
                                                 {"HomeAgentAddressDiscoveryReply", 145},
                                                 {"MobilePrefixSolicitation", 146},
                                                 {"MobilePrefixAdvertisement", 147},
                                                 {"CertificationPathSolicitation", 148},
                                                 {"CertificationPathAdvertisement", 149},
                                                 {"MulticastRouterAdvertisement", 151},
                                                 {"MulticastRouterSolicitation", 152},
                                                 {"MulticastRouterTermination", 153},
                                                 {"FMIPv6", 154},
                                                 {"RPLControl", 155},
                                                 {"DuplicateAddressRequestCodeSuffix", 157},
                                                 {"DuplicateAddressConfirmationCodeSuffix", 158},
                                                 {"ExtendedEchoRequest", 160}}};

template <std::size_t N>
std::optional<std::uint8_t> icmp_type(const std::array<IcmpName, N>& names, std::string_view text) {
  if (const auto number = port_number(text)) {
    return *number <= 255 ? std::optional(static_cast<std::uint8_t>(*number)) : std::nullopt;
  }
  const auto found = std::find_if(names.begin(), names.end(), [&](const IcmpName& n) { return n.name == text; });
  return found == names.end() ? std::nullopt : std::optional(found->type);
}

void read_icmp_field(const YamlMap& field, PolicyRule& out) {
  field.reject_others({"family", "type"});
  const std::string family = field.text("family");
  if (!family.empty() && family != "IPv4" && family != "IPv6") {
    field.error(field.line(), field.path("family") + " is " + shown(family), "write IPv4 or IPv6");
  }
  const YamlNode* node = field.require("type", "write the ICMP type's number or name");
  if (node == nullptr) {
    return;
  }
  const std::string text = field.text("type");
  const bool ipv6 = family == "IPv6";
  const auto type = ipv6 ? icmp_type(kIcmpv6Names, text) : icmp_type(kIcmpNames, text);
  if (!type) {
    field.error(node->line,
                field.path("type") + " is " + shown(text) + ", not a known type of ICMP" + (ipv6 ? "v6" : ""),
                "write a number, 0 to 255, or a name such as EchoRequest");
    return;
  }
  append_once(out.ports, PolicyPort{ipv6 ? kIcmpv6 : kIcmp, *type, *type, {}});
}

void read_icmps(const YamlMap& rule, PolicyRule& out) {
  const auto& list = rule.list("icmps");
  for (std::size_t i = 0; i < list.size(); ++i) {
    const YamlMap item(&list[i], item_path(rule.path("icmps"), i), list[i].line, rule.errors());
    item.reject_others({"fields"});
    const auto& fields = item.list("fields");
    if (fields.size() > kMaxPorts) {
      item.error(item.line(), item.path("fields") + " has more than " + std::to_string(kMaxPorts) + " types",
                 "split the list in two");
    }
    for (std::size_t f = 0; f < fields.size(); ++f) {
      read_icmp_field(YamlMap(&fields[f], item_path(item.path("fields"), f), fields[f].line, rule.errors()), out);
    }
  }
}

// As the API server checks an IntOrString: a number is one of a port, and text is a name, which has a letter.
bool is_kubernetes_port(const YamlMap& item, const YamlNode& port) {
  const auto number = port_number(port.text);
  if (number && !is_bare_number_or_boolean(port)) {
    item.error(port.line,
               item.path("port") + " is " + shown(port.text) + " in quotes, which is a name without a letter",
               "write the number without quotes");
    return false;
  }
  if (number && *number == 0) {
    item.error(port.line, item.path("port") + " is 0", "write a number, 1 to 65535, or leave port out for every port");
    return false;
  }
  return true;
}

}  // namespace

void read_cilium_ports(const YamlMap& rule, PolicyRule& out) {
  const bool ports = !rule.list("toPorts").empty(), icmps = !rule.list("icmps").empty();
  if (ports && icmps) {
    rule.error(rule.line(), rule.path() + " has both toPorts and icmps", "write a separate rule for each");
  }
  out.any_port = !ports && !icmps;
  read_to_ports(rule, out);
  read_icmps(rule, out);
}

void read_kubernetes_ports(const YamlMap& rule, PolicyRule& out) {
  const auto& list = rule.list("ports");
  out.any_port = list.empty();
  for (std::size_t i = 0; i < list.size(); ++i) {
    const YamlMap port(&list[i], item_path(rule.path("ports"), i), list[i].line, rule.errors());
    port.reject_others({"port", "endPort", "protocol"});
    const YamlNode* number = port.get("port");
    const auto protocols = read_protocols(port, "TCP");
    if (number != nullptr && !is_kubernetes_port(port, *number)) {
      continue;
    }
    add_port(port, number == nullptr ? "0" : port.text("port"), port.line(), protocols, out.ports);
  }
}

}  // namespace isthmus
