#include "control/kernel/host_state.h"

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <optional>

#include "control/kernel/route_entry.h"

namespace isthmus {
namespace {

constexpr std::uint32_t kForever = std::numeric_limits<std::uint32_t>::max();  // of an address's lifetime
constexpr std::uint16_t kAdd = NLM_F_CREATE | NLM_F_EXCL;
// Beside what there is for the same prefix: of one prefix, there may be routes by several interfaces.
constexpr std::uint16_t kAddBeside = NLM_F_CREATE | NLM_F_APPEND;
constexpr std::uint16_t kPut = NLM_F_CREATE | NLM_F_REPLACE;

using Failed = std::optional<NetlinkFailure>;

Failed no_room() { return NetlinkFailure{EMSGSIZE, "it has more attributes than a request holds"}; }

// Until `visit` returns false; whether it never did.
template <typename Visit>
bool each_attribute(std::span<const char> left, Visit visit) {
  while (left.size() >= sizeof(nlattr)) {
    const auto* attribute = reinterpret_cast<const nlattr*>(left.data());
    if (attribute->nla_len < sizeof(nlattr) || attribute->nla_len > left.size()) {
      break;
    }
    if (!visit(attribute, mnl_attr_get_type(attribute))) {
      return false;
    }
    left = left.subspan(std::min<std::size_t>(left.size(), MNL_ALIGN(attribute->nla_len)));
  }
  return true;
}

template <typename Visit>
bool each_attribute(const HostEntry& entry, std::size_t header_size, Visit visit) {
  const std::size_t before = MNL_ALIGN(header_size), length = mnl_nlmsg_get_payload_len(entry.message());
  const auto* payload = static_cast<const char*>(mnl_nlmsg_get_payload(entry.message()));
  return length <= before || each_attribute({payload + before, length - before}, visit);
}

// --- addresses

bool moves_address(const nlmsghdr* message, int interface) {
  const auto* header = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(message));
  const NetlinkAttributes attributes(message, sizeof(*header));
  const std::uint32_t flags = attributes.number(IFA_FLAGS).value_or(header->ifa_flags);
  const bool temporary = header->ifa_family == AF_INET6 && (flags & IFA_F_TEMPORARY) != 0;
  // Link-local addresses of IPv4 are somebody's choice.
  const std::uint8_t above = header->ifa_family == AF_INET ? RT_SCOPE_HOST : RT_SCOPE_LINK;
  return static_cast<int>(header->ifa_index) == interface && header->ifa_scope < above && !temporary &&
         (header->ifa_family == AF_INET || header->ifa_family == AF_INET6);
}

// "eth0:1" is "eth0host:1" there. Empty: as long a label cannot be.
std::string label_there(const std::string& label, const std::string& from, const std::string& to) {
  const bool by_name = label.starts_with(from) && (label.size() == from.size() || label[from.size()] == ':');
  const std::string there = by_name ? to + label.substr(from.size()) : label;
  return there.size() < IFNAMSIZ ? there : "";
}

bool put_lifetimes(NetlinkMessage& message, const nlattr* attribute, bool renewed_by_kernel) {
  ifa_cacheinfo times{};
  if (mnl_attr_get_payload_len(attribute) < sizeof times) {
    return true;
  }
  std::memcpy(&times, mnl_attr_get_payload(attribute), sizeof times);
  if (!renewed_by_kernel) {
    times.ifa_valid = kForever;
    times.ifa_prefered = times.ifa_prefered == 0 ? 0 : kForever;
  }
  return message.put_raw(IFA_CACHEINFO, {reinterpret_cast<const char*>(&times), sizeof times});
}

Failed change_address(NetlinkRequests& requests, const HostEntry& entry, const HostState& state, const LinkState& at,
                      bool add) {
  NetlinkMessage message(add ? RTM_NEWADDR : RTM_DELADDR, add ? kAdd : std::uint16_t{0});
  auto& header = message.header<ifaddrmsg>();
  header = entry.header<ifaddrmsg>();
  header.ifa_index = static_cast<unsigned>(at.index);
  const NetlinkAttributes attributes(entry.message(), sizeof header);
  const std::uint32_t had = attributes.number(IFA_FLAGS).value_or(header.ifa_flags);
  std::uint32_t flags = had & (IFA_F_HOMEADDRESS | IFA_F_MANAGETEMPADDR | IFA_F_NOPREFIXROUTE | IFA_F_MCAUTOJOIN);
  if (header.ifa_family == AF_INET6) {
    flags |= IFA_F_NODAD;  // it is in use, and the other interface would answer
  }
  header.ifa_flags = static_cast<std::uint8_t>(flags);
  const bool fits = each_attribute(entry, sizeof header, [&](const nlattr* attribute, std::uint16_t type) {
    switch (type) {
      case IFA_FLAGS:
        return true;
      case IFA_LABEL: {
        const std::string label = label_there(mnl_attr_get_str(attribute), state.from.interface, at.interface);
        return !add || label.empty() ||
               message.put_raw(IFA_LABEL, std::span<const char>(label.c_str(), label.size() + 1));
      }
      case IFA_CACHEINFO:
        return !add || put_lifetimes(message, attribute, (had & IFA_F_MANAGETEMPADDR) != 0);
      default:
        return message.put(attribute);
    }
  });
  message.put(IFA_FLAGS, flags);
  return fits ? requests.apply(message) : no_room();
}

// --- routes

struct Hop {
  rtnexthop header;
  const char* attributes;
  std::size_t length;
};

std::vector<Hop> hops_of(const nlattr* multipath) {
  std::vector<Hop> hops;
  std::span<const char> left = NetlinkMessage::payload_of(multipath);
  while (left.size() >= sizeof(rtnexthop)) {
    rtnexthop hop;
    std::memcpy(&hop, left.data(), sizeof hop);
    if (hop.rtnh_len < sizeof hop || hop.rtnh_len > left.size()) {
      break;
    }
    hops.push_back({hop, left.data() + sizeof hop, hop.rtnh_len - sizeof hop});
    left = left.subspan(std::min<std::size_t>(left.size(), RTNH_ALIGN(hop.rtnh_len)));
  }
  return hops;
}

bool moves_route(const nlmsghdr* message, int interface) {
  const auto* header = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message));
  const NetlinkAttributes attributes(message, sizeof(*header));
  const IpAddress to = attributes.address(RTA_DST).value_or(IpAddress{});
  if (header->rtm_type != RTN_UNICAST || (header->rtm_flags & RTM_F_CLONED) != 0 ||
      attributes.number(RTA_TABLE).value_or(header->rtm_table) == RT_TABLE_LOCAL ||
      header->rtm_protocol == RTPROT_REDIRECT ||
      (header->rtm_family == AF_INET6 && header->rtm_dst_len != 0 &&
       (to.bytes()[0] == 0xff || (to.bytes()[0] == 0xfe && (to.bytes()[1] & 0xc0) == 0x80)))) {
    return false;
  }
  if (const nlattr* multipath = attributes.get(RTA_MULTIPATH); multipath != nullptr) {
    const std::vector<Hop> hops = hops_of(multipath);
    return std::ranges::any_of(hops, [&](const Hop& hop) { return hop.header.rtnh_ifindex == interface; });
  }
  return static_cast<int>(attributes.number(RTA_OIF).value_or(0)) == interface;
}

// Its hops are those of a next hop object. It moves as a route that has them itself.
bool is_by_object(const HostEntry& entry) {
  return NetlinkAttributes(entry.message(), sizeof(rtmsg)).get(RTA_NH_ID) != nullptr;
}

bool has_gateway(const HostEntry& entry) {
  const NetlinkAttributes attributes(entry.message(), sizeof(rtmsg));
  return attributes.get(RTA_MULTIPATH) != nullptr || gateway_of(attributes).has_value();
}

// `of` them, those by the interface now go by `at`.
bool put_hops(NetlinkMessage& message, const std::vector<Hop>& of, int from, int at) {
  std::vector<char> hops;
  for (Hop hop : of) {
    hop.header.rtnh_flags = static_cast<unsigned char>(hop.header.rtnh_flags & RTNH_F_ONLINK);
    hop.header.rtnh_ifindex = hop.header.rtnh_ifindex == from ? at : hop.header.rtnh_ifindex;
    const auto* bytes = reinterpret_cast<const char*>(&hop.header);
    hops.insert(hops.end(), bytes, bytes + sizeof hop.header);
    hops.insert(hops.end(), hop.attributes, hop.attributes + hop.length);
    hops.resize(RTNH_ALIGN(hops.size()));
  }
  return message.put_raw(RTA_MULTIPATH, hops);
}

bool put_expiry(NetlinkMessage& message, const nlattr* attribute) {
  rta_cacheinfo times{};
  if (mnl_attr_get_payload_len(attribute) >= sizeof times) {
    std::memcpy(&times, mnl_attr_get_payload(attribute), sizeof times);
    const auto seconds = times.rta_expires / std::max(1, static_cast<int>(sysconf(_SC_CLK_TCK)));
    if (seconds > 0) {
      message.put(RTA_EXPIRES, static_cast<std::uint32_t>(seconds));
    }
  }
  return true;
}

// `hops`: of one with several.
Failed change_host_route(NetlinkRequests& requests, const HostEntry& entry, int from, int at, bool add,
                         const std::vector<Hop>& hops) {
  NetlinkMessage message(add ? RTM_NEWROUTE : RTM_DELROUTE, add ? kAddBeside : std::uint16_t{0});
  auto& header = message.header<rtmsg>();
  header = entry.header<rtmsg>();
  header.rtm_flags &= RTNH_F_ONLINK;
  const bool by_object = !add && is_by_object(entry);
  bool fits = each_attribute(entry, sizeof header, [&](const nlattr* attribute, std::uint16_t type) {
    switch (type) {
      case RTA_OIF:
      case RTA_MULTIPATH:
        return true;
      case RTA_NH_ID:  // its hops stand beside it; but the kernel finds such a route by the object alone
        return !by_object || message.put(attribute);
      case RTA_GATEWAY:
      case RTA_VIA:
        return by_object || message.put(attribute);
      case RTA_CACHEINFO:
        return !add || put_expiry(message, attribute);
      default:
        return message.put(attribute);
    }
  });
  if (hops.empty() && !by_object) {
    message.put(RTA_OIF, static_cast<std::uint32_t>(at));
  } else if (!by_object) {
    fits = fits && put_hops(message, hops, from, at);
  }
  return fits ? requests.apply(message) : no_room();
}

Failed change_host_route(NetlinkRequests& requests, const HostEntry& entry, const HostState& state, const LinkState& at,
                         bool add) {
  const NetlinkAttributes attributes(entry.message(), sizeof(rtmsg));
  const nlattr* multipath = attributes.get(RTA_MULTIPATH);
  const std::vector<Hop> hops = multipath == nullptr ? std::vector<Hop>{} : hops_of(multipath);
  // Of IPv4, one with several hops is one object of the kernel's.
  if (hops.empty() || entry.header<rtmsg>().rtm_family == AF_INET || (!add && is_by_object(entry))) {
    return change_host_route(requests, entry, state.from.index, at.index, add, hops);
  }
  // Of IPv6, each hop is a route of its own, and those by other interfaces stay.
  for (const Hop& hop : hops) {
    if (hop.header.rtnh_ifindex == state.from.index) {
      if (auto failed = change_host_route(requests, entry, state.from.index, at.index, add, {hop});
          failed && failed->code != EEXIST && failed->code != ESRCH) {
        return failed;
      }
    }
  }
  return std::nullopt;
}

// --- neighbours

bool moves_neighbour(const nlmsghdr* message, int interface) {
  const auto* header = static_cast<const ndmsg*>(mnl_nlmsg_get_payload(message));
  return header->ndm_ifindex == interface && (header->ndm_state & NUD_PERMANENT) != 0 &&
         (header->ndm_family == AF_INET || header->ndm_family == AF_INET6);
}

bool moves_proxied(const nlmsghdr* message, int interface) {
  const auto* header = static_cast<const ndmsg*>(mnl_nlmsg_get_payload(message));
  return header->ndm_ifindex == interface && (header->ndm_flags & NTF_PROXY) != 0;
}

Failed change_neighbour(NetlinkRequests& requests, const HostEntry& entry, const LinkState& at, bool add) {
  NetlinkMessage message(add ? RTM_NEWNEIGH : RTM_DELNEIGH, add ? kPut : std::uint16_t{0});
  auto& header = message.header<ndmsg>();
  header = entry.header<ndmsg>();
  header.ndm_ifindex = at.index;
  const bool fits = each_attribute(entry, sizeof header, [&](const nlattr* attribute, std::uint16_t type) {
    return (type != NDA_DST && type != NDA_LLADDR && type != NDA_PROTOCOL) || message.put(attribute);
  });
  return fits ? requests.apply(message) : no_room();
}

// --- all of them

std::string text_of(const HostEntry& entry, std::size_t header_size, std::uint16_t address, unsigned length) {
  const auto found = NetlinkAttributes(entry.message(), header_size).address(address);
  return (found ? found->to_string() : "default") + (length == 0 ? "" : "/" + std::to_string(length));
}

struct Change {
  const char* what;  // "put" or "remove"
  std::string entry;
};

Error state_error(const Change& change, const LinkState& at, const NetlinkFailure& failed) {
  const char* fix = "see `ip address`, `ip route show table all` and `ip neighbour` of both interfaces";
  if (failed.code == EPERM) {
    fix = "run as root or with CAP_NET_ADMIN";
  } else if (failed.code == ENETDOWN) {
    fix = "bring the interface up";
  } else if (failed.code == EACCES) {
    fix = "IPv6 is disabled at the interface (net.ipv6.conf.<interface>.disable_ipv6)";
  }
  return {std::string("cannot ") + change.what + " " + change.entry + ": " + failed.text, at.interface, fix};
}

template <typename Header>
Failed collect(NetlinkRequests& requests, std::uint16_t type, std::uint8_t family, std::vector<HostEntry>& entries,
               bool (*moves)(const nlmsghdr*, int), int interface, const Header& asked = {}) {
  NetlinkMessage message(type, 0);
  message.header<Header>() = asked;
  *reinterpret_cast<std::uint8_t*>(mnl_nlmsg_get_payload(message.raw())) = family;  // the first member of each
  const std::size_t before = entries.size();
  auto failed = requests.dump(
      message, [&] { entries.erase(entries.begin() + static_cast<std::ptrdiff_t>(before), entries.end()); },
      [&](const nlmsghdr* reply) {
        if (moves(reply, interface)) {
          entries.emplace_back(reply);
        }
      });
  // A kernel without IPv6.
  return failed && (failed->code == EAFNOSUPPORT || failed->code == EOPNOTSUPP || failed->code == ENOENT) ? std::nullopt
                                                                                                          : failed;
}

}  // namespace

Result<HostState> read_host_state(NetlinkRequests& requests, const LinkState& interface) {
  HostState state;
  state.from = interface;
  for (const std::uint8_t family : {std::uint8_t{AF_INET}, std::uint8_t{AF_INET6}}) {
    const auto before = static_cast<std::ptrdiff_t>(state.addresses.size());
    Failed failed = collect<ifaddrmsg>(requests, RTM_GETADDR, family, state.addresses, moves_address, interface.index);
    if (family == AF_INET6) {
      std::reverse(state.addresses.begin() + before, state.addresses.end());  // the dump begins with the latest one
    }
    if (!failed) {
      failed = collect<rtmsg>(requests, RTM_GETROUTE, family, state.routes, moves_route, interface.index);
    }
    if (!failed) {
      failed = collect<ndmsg>(requests, RTM_GETNEIGH, family, state.neighbours, moves_neighbour, interface.index);
    }
    if (!failed) {  // neighbours that are answered for are a list of their own
      ndmsg proxied{};
      proxied.ndm_flags = NTF_PROXY;
      failed =
          collect<ndmsg>(requests, RTM_GETNEIGH, family, state.neighbours, moves_proxied, interface.index, proxied);
    }
    if (failed) {
      return Error{"cannot read its addresses, routes and neighbours: " + failed->text, interface.interface,
                   "run as root or with CAP_NET_ADMIN"};
    }
  }
  std::ranges::stable_sort(state.routes, {}, has_gateway);
  return state;
}

Status put_host_state(NetlinkRequests& requests, const HostState& state, const LinkState& to) {
  for (const HostEntry& entry : state.addresses) {
    if (const auto failed = change_address(requests, entry, state, to, true); failed && failed->code != EEXIST) {
      const unsigned length = entry.header<ifaddrmsg>().ifa_prefixlen;
      return state_error({"put", "address " + text_of(entry, sizeof(ifaddrmsg), IFA_ADDRESS, length)}, to, *failed);
    }
  }
  for (const HostEntry& entry : state.routes) {
    if (const auto failed = change_host_route(requests, entry, state, to, true); failed && failed->code != EEXIST) {
      const unsigned length = entry.header<rtmsg>().rtm_dst_len;
      return state_error({"put", "route " + text_of(entry, sizeof(rtmsg), RTA_DST, length)}, to, *failed);
    }
  }
  for (const HostEntry& entry : state.neighbours) {
    if (const auto failed = change_neighbour(requests, entry, to, true)) {
      return state_error({"put", "neighbour " + text_of(entry, sizeof(ndmsg), NDA_DST, 0)}, to, *failed);
    }
  }
  return Ok{};
}

Status remove_host_state(NetlinkRequests& requests, const HostState& state, const LinkState& from) {
  std::optional<Error> first;
  const auto record = [&](const Failed& failed, int gone, const auto& entry) {
    // ENXIO: its family is disabled there.
    if (failed && failed->code != gone && failed->code != ENODEV && failed->code != ENXIO && !first) {
      first = state_error({"remove", entry()}, from, *failed);
    }
  };
  for (const HostEntry& entry : state.neighbours) {
    record(change_neighbour(requests, entry, from, false), ENOENT,
           [&] { return "neighbour " + text_of(entry, sizeof(ndmsg), NDA_DST, 0); });
  }
  for (auto entry = state.routes.rbegin(); entry != state.routes.rend(); ++entry) {
    record(change_host_route(requests, *entry, state, from, false), ESRCH,
           [&] { return "route " + text_of(*entry, sizeof(rtmsg), RTA_DST, entry->header<rtmsg>().rtm_dst_len); });
  }
  for (auto entry = state.addresses.rbegin(); entry != state.addresses.rend(); ++entry) {
    record(change_address(requests, *entry, state, from, false), EADDRNOTAVAIL, [&] {
      return "address " + text_of(*entry, sizeof(ifaddrmsg), IFA_ADDRESS, entry->header<ifaddrmsg>().ifa_prefixlen);
    });
  }
  return first ? Status(*first) : Status(Ok{});
}

Result<HostState> move_host_state(NetlinkRequests& requests, const LinkState& from, const LinkState& to) {
  auto state = read_host_state(requests, from);
  if (!state) {
    return state;
  }
  Status done = put_host_state(requests, *state, to);
  if (done) {
    done = remove_host_state(requests, *state, from);
    // A kernel may take routes with an address of theirs, though another interface has it.
    if (Status again = put_host_state(requests, *state, to); done && !again) {
      done = again;
    }
  }
  if (!done) {
    Error error = done.error();
    Status back = put_host_state(requests, *state, from);
    if (Status removed = remove_host_state(requests, *state, to); back && !removed) {
      back = removed;
    }
    error.what += back ? "; all is at " + from.interface + " as before" : "; and back: " + back.error().text();
    return error;
  }
  return state;
}

}  // namespace isthmus
