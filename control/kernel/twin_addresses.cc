#include "control/kernel/twin_addresses.h"

#include <linux/if_link.h>

#include <array>
#include <utility>

#include "control/kernel/ingress_drop.h"
#include "control/kernel/links.h"
#include "control/kernel/sysctl.h"

namespace isthmus {
namespace {

constexpr std::string_view kAlias = "isthmus twin of ";

// How the kernel treats what comes by an interface, and what it makes there by itself.
constexpr std::array kSettings = {
    "ipv4/conf/*/rp_filter",        "ipv4/conf/*/arp_ignore",       "ipv4/conf/*/arp_announce",
    "ipv4/conf/*/arp_filter",       "ipv4/conf/*/accept_local",     "ipv4/conf/*/forwarding",
    "ipv4/conf/*/accept_redirects", "ipv4/conf/*/send_redirects",   "ipv4/conf/*/proxy_arp",
    "ipv6/conf/*/disable_ipv6",     "ipv6/conf/*/forwarding",       "ipv6/conf/*/accept_ra",
    "ipv6/conf/*/autoconf",         "ipv6/conf/*/accept_redirects", "ipv6/conf/*/use_tempaddr",
    "ipv6/conf/*/proxy_ndp",
};
constexpr const char* kArpIgnore = "ipv4/conf/*/arp_ignore";
constexpr const char* kNoReplies = "8";  // for no local address
constexpr const char* kDisableIpv6 = "ipv6/conf/*/disable_ipv6";

std::string setting_of(std::string setting, const std::string& interface) {
  return setting.replace(setting.find('*'), 1, interface);
}

using Settings = std::vector<std::optional<std::string>>;  // in the order of the list; none: the kernel has no such one

Settings read_settings(const std::string& interface) {
  Settings settings;
  for (const char* setting : kSettings) {
    settings.push_back(read_sysctl(setting_of(setting, interface)));
  }
  return settings;
}

Status write_settings(const Settings& settings, const std::string& interface) {
  for (std::size_t i = 0; i < settings.size(); ++i) {
    // Some do more than they say: whoever writes to `forwarding` ends default routes that routers have announced, at
    // all interfaces, and if it is the same value again.
    if (!settings[i] || read_sysctl(setting_of(kSettings[i], interface)) == settings[i]) {
      continue;
    }
    if (Status written = write_sysctl(setting_of(kSettings[i], interface), *settings[i]); !written) {
      return written;
    }
  }
  return Ok{};
}

// The NIC that a twin stands in for; empty: none.
std::string nic_of(const nlmsghdr* message) {
  const std::string alias = NetlinkAttributes(message, sizeof(ifinfomsg)).text(IFLA_IFALIAS);
  return alias.starts_with(kAlias) ? alias.substr(kAlias.size()) : "";
}

Status set_alias(NetlinkRequests& requests, const LinkState& twin, const std::string& alias) {
  NetlinkMessage message(RTM_NEWLINK, 0);
  auto& header = message.header<ifinfomsg>();
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = twin.index;
  // An empty one removes it.
  if (!message.put_raw(IFLA_IFALIAS, std::span<const char>(alias))) {
    return Error{"its name is too long", twin.interface, ""};
  }
  if (const auto failed = requests.apply(message)) {
    return Error{"cannot note in its alias which NIC it stands in for: " + failed->text, twin.interface,
                 "run as root or with CAP_NET_ADMIN"};
  }
  return Ok{};
}

Status set_up(NetlinkRequests& requests, const LinkState& nic) {
  NetlinkMessage message(RTM_NEWLINK, 0);
  auto& header = message.header<ifinfomsg>();
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = nic.index;
  header.ifi_flags = header.ifi_change = IFF_UP;
  if (const auto failed = requests.apply(message)) {
    return Error{"cannot be set up: " + failed->text, nic.interface,
                 "`ip link set " + nic.interface + " up`, and stop isthmus again"};
  }
  return Ok{};
}

struct TwinLink {
  LinkState link;
  std::string nic;
};

Result<std::vector<TwinLink>> list_links(NetlinkRequests& requests) {
  std::vector<TwinLink> links;
  NetlinkMessage message(RTM_GETLINK, 0);
  message.header<ifinfomsg>().ifi_family = AF_UNSPEC;
  const auto failed = requests.dump(
      message, [&links] { links.clear(); },
      [&links](const nlmsghdr* reply) {
        TwinLink found{parse_link(reply).state, nic_of(reply)};
        found.nic = found.link.kind == "tun" ? found.nic : "";
        links.push_back(std::move(found));
      });
  if (failed) {
    return Error{"cannot list the interfaces: " + failed->text, "netlink", "run as root or with CAP_NET_ADMIN"};
  }
  return links;
}

Result<TwinLink> find_link(NetlinkRequests& requests, const std::string& interface) {
  auto links = list_links(requests);
  if (!links) {
    return links.error();
  }
  for (TwinLink& each : *links) {
    if (each.link.interface == interface) {
      return std::move(each);
    }
  }
  return Error{"there is no such interface", interface, "see `ip link show`"};
}

// Only what is received is kept away; there is nothing any more that would send by it.
std::vector<Error> silence(NetlinkRequests& requests, const LinkState& nic) {
  std::vector<Error> problems;
  for (const Status& done :
       {drop_ingress(requests, nic), write_sysctl(setting_of(kArpIgnore, nic.interface), kNoReplies),
        write_sysctl(setting_of(kDisableIpv6, nic.interface), "1")}) {
    if (!done) {
      problems.push_back(done.error());
    }
  }
  return problems;
}

Status restore_settings(NetlinkRequests& requests, const LinkState& nic, const std::string& twin) {
  if (auto allowed = allow_ingress(requests, nic); !allowed) {
    return allowed;
  }
  return write_settings(read_settings(twin), nic.interface);
}

}  // namespace

Result<TakenOver> take_over_addresses(NetlinkRequests& requests, const std::string& nic, const std::string& twin) {
  const auto from = find_link(requests, nic);
  const auto to = find_link(requests, twin);
  if (!from || !to) {
    return from ? to.error() : from.error();
  }
  if (to->link.kind != "tun" || nic == twin) {
    return Error{"it is not a TAP, and takes no addresses over", twin, "configure another name for the twin"};
  }
  if (!to->nic.empty() && to->nic != nic) {
    return Error{"it stands in for " + to->nic + ", not for " + nic, twin,
                 "give each NIC a twin of its own; `isthmus` of that NIC gives its addresses back when it stops"};
  }
  if (!to->link.up) {
    return Error{"it is down", twin, "ip link set " + twin + " up"};
  }
  // What a crashed process has begun has the settings already: the NIC's are ours now.
  const bool begun = to->nic == nic;
  Status done = begun ? Status(Ok{}) : write_settings(read_settings(nic), twin);
  done = done && !begun ? set_alias(requests, to->link, std::string(kAlias) + nic) : done;
  if (!done) {
    return done.error();
  }
  auto moved = move_host_state(requests, from->link, to->link);
  if (!moved) {
    if (!begun) {
      static_cast<void>(set_alias(requests, to->link, ""));  // it stands in for nothing: the error says why
    }
    return moved.error();
  }
  TakenOver taken;
  taken.problems = silence(requests, from->link);
  auto state = read_twin(requests, twin);
  if (!state) {
    return state.error();
  }
  taken.state = *std::move(state);
  return taken;
}

Result<TwinState> read_twin(NetlinkRequests& requests, const std::string& twin) {
  auto found = find_link(requests, twin);
  if (!found) {
    return found.error();
  }
  if (found->nic.empty()) {
    return Error{"it stands in for no NIC", twin,
                 "if its alias was changed: ip link set " + twin +
                     " alias 'isthmus "
                     "twin of <NIC>'"};
  }
  auto host = read_host_state(requests, found->link);
  if (!host) {
    return host.error();
  }
  return TwinState{found->nic, *std::move(host), read_settings(twin)};
}

Status put_at_new_twin(NetlinkRequests& requests, const TwinState& state, const std::string& twin) {
  const auto to = find_link(requests, twin);
  if (!to) {
    return to.error();
  }
  Status done = write_settings(state.settings, twin);
  done = done ? put_host_state(requests, state.host, to->link) : done;
  return done ? set_alias(requests, to->link, std::string(kAlias) + state.nic) : done;
}

Status give_back_addresses(NetlinkRequests& requests, const std::string& twin) {
  const auto from = find_link(requests, twin);
  if (!from) {
    return from.error();
  }
  if (from->nic.empty()) {
    return Ok{};
  }
  const auto to = find_link(requests, from->nic);
  if (!to) {
    return Error{"the NIC has no kernel interface any more: its addresses stay at the twin", from->nic,
                 "give the NIC back to its driver, and stop isthmus again; or configure the addresses anew"};
  }
  // No route stands at an interface that is down.
  if (Status up = to->link.up ? Status(Ok{}) : set_up(requests, to->link); !up) {
    return up;
  }
  if (auto done = restore_settings(requests, to->link, twin); !done) {
    return done;
  }
  if (auto moved = move_host_state(requests, from->link, to->link); !moved) {
    static_cast<void>(silence(requests, to->link));  // the twin goes on standing in for it
    return moved.error();
  }
  return set_alias(requests, from->link, "");
}

Result<std::vector<StandingTwin>> standing_twins(NetlinkRequests& requests) {
  const auto links = list_links(requests);
  if (!links) {
    return links.error();
  }
  std::vector<StandingTwin> twins;
  for (const TwinLink& each : *links) {
    if (!each.nic.empty()) {
      twins.push_back({each.link.interface, each.nic});
    }
  }
  return twins;
}

}  // namespace isthmus
