#include "control/kernel/local_device.h"

#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/veth.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "control/kernel/ethtool.h"
#include "control/kernel/links.h"
#include "control/kernel/sysctl.h"

namespace isthmus {
namespace {

constexpr std::string_view kTapKind = "tun";  // as the kernel calls TUNs and TAPs

constexpr std::uint32_t kTransmitQueueLength =
    1000;  // veth has no queue of its own; takes effect once a qdisc is added
constexpr unsigned kMinMtu = 576, kMaxMtu = 65535;
constexpr const char* kLooseReversePath = "2";
constexpr std::uint8_t kNoAddresses = 1;  // IN6_ADDR_GEN_MODE_NONE

struct Pair {
  LinkDetails kernel_end, engine_end;
};

Status check_options(const LocalDeviceOptions& options) {
  for (const std::string& name : {options.kernel_end, options.engine_end_name()}) {
    if (name.empty() || name.size() >= IFNAMSIZ || name.find_first_of("/ \t\n:") != std::string::npos || name == "." ||
        name == "..") {
      return Error{"\"" + name + "\" is not a valid interface name", "devices.local.interface",
                   "use at most 14 letters, digits, dashes and dots (the engine's end gets an x appended)"};
    }
  }
  if (options.queues == 0 || options.mtu.value() < kMinMtu || options.mtu.value() > kMaxMtu) {
    return Error{"the device needs at least one queue and an MTU of 576 to 65535", options.kernel_end,
                 "see devices.local and engine"};
  }
  return Ok{};
}

Error not_ours(const std::string& interface, const std::string& why) {
  return {why, interface,
          "remove it (`ip link del " + interface + "`) or name another interface under devices.local.interface"};
}

// The pair if it exists, empty if neither name is in use.
Result<std::optional<Pair>> find_pair(NetlinkRequests& requests, const LocalDeviceOptions& options) {
  auto kernel_end = query_link(requests, options.kernel_end);
  auto engine_end = query_link(requests, options.engine_end_name());
  if (!kernel_end) {
    return kernel_end.error();
  }
  if (!engine_end) {
    return engine_end.error();
  }
  if (!*kernel_end && !*engine_end) {
    return std::optional<Pair>{};
  }
  if (!*kernel_end || !*engine_end) {
    const auto& present = *kernel_end ? options.kernel_end : options.engine_end_name();
    const auto& missing = *kernel_end ? options.engine_end_name() : options.kernel_end;
    return not_ours(present, "the interface exists, but its peer " + missing + " does not");
  }
  const LinkDetails& a = **kernel_end;
  const LinkDetails& b = **engine_end;
  for (const LinkDetails& end : {a, b}) {
    if (end.state.kind != "veth") {
      return not_ours(end.state.interface, "the interface is not a veth device but " +
                                               (end.state.kind.empty() ? std::string("hardware") : end.state.kind));
    }
  }
  if (a.peer_elsewhere || b.peer_elsewhere || a.peer_index != b.state.index || b.peer_index != a.state.index) {
    return not_ours(a.state.interface, "the interface is not the peer of " + b.state.interface);
  }
  return std::optional<Pair>{Pair{a, b}};
}

Status create_pair(NetlinkRequests& requests, const LocalDeviceOptions& options) {
  NetlinkMessage message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  message.header<ifinfomsg>().ifi_family = AF_UNSPEC;
  const auto put_end = [&message, &options](const std::string& name) {
    message.put(IFLA_IFNAME, name);
    message.put(IFLA_MTU, options.mtu.value());
    message.put(IFLA_NUM_RX_QUEUES, options.queues);
    message.put(IFLA_NUM_TX_QUEUES, options.queues);
    message.put(IFLA_TXQLEN, kTransmitQueueLength);
  };
  put_end(options.kernel_end);
  message.nest(IFLA_LINKINFO, [&] {
    message.put(IFLA_INFO_KIND, "veth");
    message.nest(IFLA_INFO_DATA, [&] {
      message.nest(VETH_INFO_PEER, [&] {
        message.header<ifinfomsg>().ifi_family = AF_UNSPEC;
        put_end(options.engine_end_name());
      });
    });
  });
  if (const auto failed = requests.apply(message)) {
    return Error{"cannot create the veth pair: " + failed->text, options.kernel_end,
                 "run as root or with CAP_NET_ADMIN, on a kernel with veth; or configure an existing interface"};
  }
  return Ok{};
}

// Sets flags and MTU of one end; `up` only once everything else is configured.
Status set_link(NetlinkRequests& requests, const LinkDetails& end, Bytes mtu, bool up) {
  NetlinkMessage message(RTM_NEWLINK, 0);
  auto& header = message.header<ifinfomsg>();
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = end.state.index;
  header.ifi_flags = IFF_NOARP | (up ? IFF_UP : 0);
  header.ifi_change = IFF_NOARP | IFF_MULTICAST | (up ? IFF_UP : 0);
  if (end.state.mtu != mtu) {
    message.put(IFLA_MTU, mtu.value());
  }
  if (const auto failed = requests.apply(message)) {
    return Error{"cannot set its MTU to " + std::to_string(mtu.value()) + " and bring it up: " + failed->text,
                 end.state.interface, "an XDP program may limit its MTU; remove the pair, it is created again"};
  }
  return Ok{};
}

// Before the first "up": no addresses, no autoconfiguration, so that the stack sends nothing by itself.
Status set_sysctls(const std::string& interface, bool engine_end) {
  const std::string v4 = "ipv4/conf/" + interface + "/";
  const std::string v6 = "ipv6/conf/" + interface + "/";
  std::vector<std::pair<std::string, std::string>> settings = {
      {v4 + "rp_filter", kLooseReversePath},
      {v6 + "addr_gen_mode", std::to_string(kNoAddresses)},
      {v6 + "accept_ra", "0"},
      {v6 + "autoconf", "0"},
  };
  if (engine_end) {
    settings.emplace_back(v6 + "disable_ipv6", "1");  // what reaches this end belongs to the engine alone
  }
  for (const auto& [name, value] : settings) {
    if (auto done = write_sysctl(name, value); !done) {
      return done;
    }
  }
  return Ok{};
}

// With XDP on it, the engine end must never have fewer receive queues than its peer has transmit queues: it is changed
// first when the number rises, last when it falls.
Status set_queues(const LocalDeviceOptions& options) {
  const std::string engine_end = options.engine_end_name();
  const auto current = queue_counts(engine_end);
  if (!current) {
    return current.error();
  }
  std::array order = {engine_end, options.kernel_end};
  if (current->rx > options.queues) {
    std::swap(order[0], order[1]);
  }
  for (const std::string& end : order) {
    const auto counts = queue_counts(end);
    if (!counts) {
      return counts.error();
    }
    if (counts->max_rx < options.queues || counts->max_tx < options.queues) {
      return Error{"the device was created with " + std::to_string(std::min(counts->max_rx, counts->max_tx)) +
                       " queues, but there are " + std::to_string(options.queues) + " workers",
                   end, "remove the pair, it is created again (`ip link del " + options.kernel_end + "`)"};
    }
    if (auto done = set_queue_counts(end, options.queues, options.queues); !done) {
      return done;
    }
  }
  return Ok{};
}

Status configure(NetlinkRequests& requests, const LocalDeviceOptions& options, const Pair& pair) {
  for (const LinkDetails* end : {&pair.kernel_end, &pair.engine_end}) {
    if (auto done = set_sysctls(end->state.interface, end == &pair.engine_end); !done) {
      return done;
    }
    if (auto done = set_link(requests, *end, options.mtu, false); !done) {
      return done;
    }
  }
  if (auto done = set_queues(options); !done) {
    return done;
  }
  if (auto done = disable_offloads(options.kernel_end); !done) {
    return done;
  }
  if (auto done = enable_gro(options.kernel_end); !done) {
    return done;
  }
  for (const LinkDetails* end : {&pair.kernel_end, &pair.engine_end}) {
    if (auto done = set_link(requests, *end, options.mtu, true); !done) {
      return done;
    }
  }
  return Ok{};
}

Status delete_link(NetlinkRequests& requests, int index, const std::string& name) {
  NetlinkMessage message(RTM_DELLINK, 0);
  auto& header = message.header<ifinfomsg>();
  header.ifi_family = AF_UNSPEC;
  header.ifi_index = index;
  if (const auto failed = requests.apply(message); failed && failed->code != ENODEV) {
    return Error{"cannot remove the device: " + failed->text, name, "run as root or with CAP_NET_ADMIN"};
  }
  return Ok{};
}

}  // namespace

Result<LocalDevice> make_local_device(NetlinkRequests& requests, const LocalDeviceOptions& options) {
  if (auto valid = check_options(options); !valid) {
    return valid.error();
  }
  auto pair = find_pair(requests, options);
  if (!pair) {
    return pair.error();
  }
  LocalDevice device;
  device.adopted = pair->has_value();
  if (!device.adopted) {
    if (auto created = create_pair(requests, options); !created) {
      return created.error();
    }
    pair = find_pair(requests, options);
    if (!pair) {
      return pair.error();
    }
  }
  if (!*pair) {
    return Error{"the device disappeared while it was being created", options.kernel_end,
                 "find the program that removes it"};
  }
  if (auto done = configure(requests, options, **pair); !done) {
    return done.error();
  }
  pair = find_pair(requests, options);
  if (!pair) {
    return pair.error();
  }
  if (!*pair || !(*pair)->kernel_end.state.up || !(*pair)->kernel_end.no_arp || !(*pair)->engine_end.no_arp) {
    return Error{"the device did not keep its configuration", options.kernel_end,
                 "find the program that reconfigures it"};
  }
  device.kernel_end = (*pair)->kernel_end.state;
  device.engine_end = (*pair)->engine_end.state;
  device.queues = options.queues;
  return device;
}

Status remove_local_device(NetlinkRequests& requests, const LocalDeviceOptions& options) {
  const auto pair = find_pair(requests, options);
  if (!pair) {
    return pair.error();
  }
  if (!*pair) {
    return Ok{};
  }
  return delete_link(requests, (*pair)->kernel_end.state.index, options.kernel_end);
}

Status remove_twin(NetlinkRequests& requests, const std::string& interface) {
  const auto link = query_link(requests, interface);
  if (!link) {
    return link.error();
  }
  if (!*link || (*link)->state.kind != kTapKind) {
    return Ok{};
  }
  return delete_link(requests, (*link)->state.index, interface);
}

std::vector<Error> forwarding_problems(const std::string& local_device) {
  std::vector<Error> problems;
  for (const std::string& name : {std::string("ipv4/ip_forward"), "ipv4/conf/" + local_device + "/forwarding",
                                  std::string("ipv6/conf/all/forwarding")}) {
    if (read_sysctl(name) == "0") {
      std::string key = "net/" + name;
      problems.push_back(
          {"the node does not forward packets between its pods and the gateway", key, "sysctl -w " + key + "=1"});
    }
  }
  return problems;
}

}  // namespace isthmus
