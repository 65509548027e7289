#include "control/admission/rules.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <string_view>

namespace isthmus {
namespace {

struct Special {
  Prefix prefix;
  std::string_view text;
};

Prefix prefix_of(std::string_view text) { return Prefix::parse(text).value(); }

// What a fleet never owns (IANA's special-purpose registries; RFC 6890).
const std::array<Special, 9>& specials() {
  static const std::array<Special, 9> list{{{prefix_of("0.0.0.0/8"), "reserved addresses"},
                                            {prefix_of("127.0.0.0/8"), "loopback addresses"},
                                            {prefix_of("169.254.0.0/16"), "link-local addresses"},
                                            {prefix_of("224.0.0.0/4"), "multicast addresses"},
                                            {prefix_of("240.0.0.0/4"), "reserved addresses"},
                                            {prefix_of("::/127"), "loopback addresses"},
                                            {prefix_of("fe80::/10"), "link-local addresses"},
                                            {prefix_of("ff00::/8"), "multicast addresses"},
                                            {prefix_of("64:ff9b::/96"), "NAT64's addresses"}}};
  return list;
}

bool overlap(const Prefix& a, const Prefix& b) { return a.family() == b.family() && (a.contains(b) || b.contains(a)); }

std::string special_part(const Prefix& prefix) {
  if (prefix.family() == Family::kIpv6 && prefix.contains(IpAddress::ipv4(Be32{}))) {
    return "which includes all IPv4 addresses in their IPv6 form (::ffff:0:0/96)";
  }
  for (const Special& special : specials()) {
    if (overlap(prefix, special.prefix)) {
      return "which " + std::string(special.prefix.contains(prefix) ? "is among the" : "includes") + " " +
             std::string(special.text) + " (" + special.prefix.to_string() + ")";
    }
  }
  return {};
}

std::string too_short(const AdmissionRules& rules, const Prefix& prefix) {
  const unsigned shortest = prefix.family() == Family::kIpv4 ? rules.shortest_ipv4 : rules.shortest_ipv6;
  return prefix.length() < shortest ? "which is shorter than /" + std::to_string(shortest) : std::string();
}

std::string outside(const AdmissionRules& rules, const Prefix& prefix) {
  const bool inside = std::any_of(rules.ranges.begin(), rules.ranges.end(), [&](const Prefix& range) {
    return range.family() == prefix.family() && range.contains(prefix);
  });
  return inside ? std::string() : "which is outside admission.ranges";
}

std::string first_of(std::initializer_list<std::string> reasons) {
  const auto* const reason =
      std::find_if(reasons.begin(), reasons.end(), [](const auto& text) { return !text.empty(); });
  return reason == reasons.end() ? std::string() : *reason;
}

}  // namespace

std::string refuse_nodes(const AdmissionRules& rules, const Prefix& prefix) {
  return first_of({too_short(rules, prefix), special_part(prefix)});
}

std::string refuse_pods(const AdmissionRules& rules, const Prefix& prefix, bool own) {
  return first_of({refuse_nodes(rules, prefix), own ? std::string() : outside(rules, prefix)});
}

std::string refuse_vip(const AdmissionRules& rules, const IpAddress& address) {
  const Prefix host(address, 128);
  return first_of({special_part(host), outside(rules, host)});
}

}  // namespace isthmus
