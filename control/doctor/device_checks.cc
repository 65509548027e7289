#include <algorithm>
#include <string>
#include <vector>

#include "control/doctor/check_list.h"
#include "control/machine/system_text.h"
#include "dataplane/api/devices.h"

namespace isthmus::doctor {
namespace {

constexpr std::uint32_t kMostInOneBuffer = 3506;  // of a veth in native mode without fragments
constexpr std::uint32_t kIpv6Least = 1280;

// An interface with its settings. A pair that the gateway makes itself has none of this yet.
struct Side {
  const InterfaceFacts& interface;
  const DeviceConfig& config;
  std::string key;
};

// Those of AF_XDP.
std::vector<Side> sides(const Facts& facts) {
  std::vector<Side> all;
  if (facts.underlay && facts.config->underlay.dpdk.empty()) {
    all.push_back({*facts.underlay, facts.config->underlay, "devices.underlay"});
  }
  if (facts.local && facts.config->local.device.dpdk.empty()) {
    all.push_back({*facts.local, facts.config->local.device, "devices.local"});
  }
  return all;
}

bool generic(const Side& side) {
  const auto& device = side.interface.device;
  return side.config.xdp == XdpMode::kGeneric ||
         (side.config.xdp == XdpMode::kAuto && device && device->abilities && !device->abilities->native);
}

std::string driver_of(const InterfaceFacts& interface) {
  return interface.name + (interface.device && !interface.device->driver.empty()
                               ? " (driver " + interface.device->driver + ")"
                               : std::string());
}

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string text;
  for (const std::string& word : words) {
    text += (text.empty() ? "" : between) + word;
  }
  return text;
}

// That the gateway receives on a device with a larger MTU.
std::uint32_t longest_packet(const Facts& facts) {
  if (!facts.config->underlay.dpdk.empty()) {
    return kMaxDpdkPacket.value();
  }
  constexpr KernelVersion kLongFrames{6, 6};
  const auto version = read_kernel_version(facts.kernel.release);
  return (version && *version >= kLongFrames ? kMaxLongPacket : kMaxAfXdpPacket).value();
}

}  // namespace

void check_interfaces(const Facts& facts, Findings& findings) {
  if (facts.network_error) {
    findings.note("the kernel does not tell of its interfaces: " + facts.network_error->what,
                  "nothing that follows of them could be seen", facts.network_error->fix);
    return;
  }
  for (const Side& side : sides(facts)) {
    const InterfaceFacts& interface = side.interface;
    if (!interface.link) {
      findings.fails("there is no interface " + interface.name, "the gateway does not start without it",
                     "see ip link, and correct " + side.key + ".interface");
    } else if (!interface.link->ethernet) {
      findings.fails(interface.name + " has no Ethernet", "the gateway does not start with it: its packets need it",
                     side.key + ".interface: the Ethernet interface below it, or another one");
    } else if (!interface.link->up) {
      findings.fails(interface.name + " is down", "it receives and sends nothing",
                     "ip link set " + interface.name + " up");
    } else if (!interface.link->running) {
      findings.fails(interface.name + " has no carrier", "it receives and sends nothing",
                     "see to its cable, or the other end of a veth");
    } else {
      findings.ok(driver_of(interface) + ": up, MTU " + std::to_string(interface.link->mtu.value()));
    }
  }
  for (const DeviceConfig* device : {&facts.config->underlay, &facts.config->local.device}) {
    if (!device->dpdk.empty() && (device == &facts.config->underlay || !facts.config->one_device())) {
      findings.ok(device->interface + " is made by the gateway, for the kernel beside DPDK's " + device->dpdk);
    }
  }
  if (facts.config->local.veth && !facts.local) {
    findings.ok(facts.config->local.device.interface + " is made by the gateway, as a veth pair");
  }
}

void check_xdp_mode(const Facts& facts, Findings& findings) {
  for (const Side& side : sides(facts)) {
    const auto& device = side.interface.device;
    if (!device) {
      continue;
    }
    const std::string name = driver_of(side.interface);
    if (!device->abilities) {
      findings.note(name + ": the kernel does not tell what its driver can do with XDP (from 6.3 on)",
                    "without native XDP, packets are received several times slower",
                    "isthmus status shows the mode in use");
    } else if (!device->abilities->native && side.config.xdp == XdpMode::kNative) {
      findings.fails(name + " has no native XDP, and " + side.key + ".xdp is native", "the gateway does not start",
                     side.key + ".xdp: auto");
    } else if (side.config.zero_copy == ZeroCopy::kRequire && (!device->abilities->zero_copy || generic(side))) {
      findings.fails(name + " has no AF_XDP without copying, and " + side.key + ".zero_copy is require",
                     "the gateway does not start", side.key + ".zero_copy: auto");
    } else if (generic(side)) {
      findings.slow(name + ": XDP in generic mode", "packets are received several times slower than in native mode",
                    device->abilities->native ? side.key + ".xdp: auto" : "an interface whose driver has native XDP");
    } else if (!device->abilities->transmits &&
               (device->driver == "veth" || device->program)) {  // of others, once there is one
      findings.slow(name + " does not send what XDP redirects to it",
                    "flows that leave by it are forwarded by the workers, not handed down to XDP",
                    "on a veth: ethtool -K PEER gro on, in the namespace of its other end");
    } else {
      findings.ok(name + ": native" + (device->abilities->zero_copy ? ", without copying" : ", copying"));
    }
  }
}

void check_xdp_program(const Facts& facts, Findings& findings) {
  for (const Side& side : sides(facts)) {
    const InterfaceFacts& interface = side.interface;
    if (!interface.device || !interface.link) {
      continue;
    }
    const auto& program = interface.device->program;
    if (!program) {
      findings.ok(interface.name + ": none");
    } else if (program->ours) {
      findings.ok(interface.name + ": isthmus_steer, number " + std::to_string(program->id) +
                  (program->native ? ", native" : ", generic"));
    } else if (program->visible) {
      findings.fails(interface.name + " runs the XDP program " +
                         (program->name.empty() ? "without a name" : program->name) + ", number " +
                         std::to_string(program->id),
                     "a program of another's is never replaced, and the gateway does not start beside it",
                     "find whose it is (bpftool net), and remove it: ip link set dev " + interface.name + " xdp off");
    } else {
      findings.note(interface.name + " runs an XDP program, number " + std::to_string(program->id) +
                        ", whose name this user may not see",
                    "unless it is the gateway's, the gateway does not start beside it", "run isthmus doctor as root");
    }
  }
}

void check_queues(const Facts& facts, Findings& findings) {
  const std::size_t workers = facts.config->cores.empty() ? facts.config->workers : facts.config->cores.size();
  for (const Side& side : sides(facts)) {
    const auto& device = side.interface.device;
    if (!device) {
      continue;
    }
    const unsigned queues = std::min(device->rx_queues, device->tx_queues);
    const std::string found = side.interface.name + ": " + std::to_string(queues) +
                              (queues == 1 ? " queue" : " queues") + " for " + std::to_string(workers) +
                              (workers == 1 ? " worker" : " workers");
    const bool veth = side.interface.link && side.interface.link->kind == "veth";
    const auto add_queues = [&](std::size_t number) {
      const std::string n = std::to_string(number);
      return "ethtool -L " + side.interface.name + (veth ? " rx " + n + " tx " + n : " combined " + n);
    };
    const std::uint32_t chunks =
        facts.config->frames /
        (4 * static_cast<std::uint32_t>(std::max<std::size_t>((device->rx_queues + workers - 1) / workers, 1)));
    if (queues < workers) {
      findings.fails(found, "every worker needs a queue of its own, and the gateway does not start",
                     device->most_queues >= workers ? add_queues(workers)
                     : facts.config->cores.empty()  ? "engine.workers: " + std::to_string(queues)
                                                    : "name fewer CPUs in engine.cores");
    } else if (chunks < 64) {
      findings.fails(found + ", " + std::to_string(facts.config->frames) + " packet buffers for each worker",
                     "a queue needs 64 buffers to receive by, and the gateway does not start",
                     add_queues(workers) + ", or a larger engine.frames");
    } else {
      findings.ok(found);
    }
  }
}

void check_mtu(const Facts& facts, Findings& findings) {
  if (!facts.underlay || !facts.underlay->link) {
    return;
  }
  const bool ipv6 = facts.own && facts.own->address(Family::kIpv6) != nullptr;
  const std::uint32_t mtu = facts.underlay->link->mtu.value(), overhead = ipv6 ? 70 : 50;
  const std::string found = facts.underlay->name + ": " + std::to_string(mtu) + " bytes";
  const bool one_device = !facts.local && !facts.config->local.veth;
  if (mtu < kIpv6Least + overhead) {
    findings.fails(found,
                   "less the tunnel's " + std::to_string(overhead) +
                       " bytes, less than 1280 are left, which IPv6 "
                       "needs, and the least that devices.local.mtu can be",
                   "ip link set " + facts.underlay->name + " mtu 1500");
  } else if (const std::uint32_t most = longest_packet(facts); mtu > most) {
    findings.slow(found,
                  "packets of more than " + std::to_string(most) +
                      " bytes do not fit a packet "
                      "buffer and are lost (oversize)" +
                      (most == kMaxLongPacket.value() ? "" : "; Linux 6.6 has larger ones"),
                  one_device ? "give the routes of senders to the fleet an MTU of " + std::to_string(most - overhead)
                             : "none, if only the fleet's tunnels send so long packets: the local device's routes keep "
                               "senders below it");
  } else if (facts.config->local.mtu && *facts.config->local.mtu + overhead > mtu) {
    findings.fails(found + ", devices.local.mtu " + std::to_string(*facts.config->local.mtu),
                   "a packet of that length does not fit the underlay in its tunnel, and is dropped",
                   "devices.local.mtu: auto");
  } else if (one_device && facts.local == std::nullopt) {
    findings.ok(found + ", of which " + std::to_string(mtu - overhead) + " are left in the tunnel");
  } else {
    findings.ok(found + ", " + std::to_string(std::min(mtu, kMostInOneBuffer) - overhead) + " for the local device");
  }
  if (facts.local && facts.local->link && facts.local->link->mtu.value() + overhead > mtu &&
      mtu >= kIpv6Least + overhead) {
    findings.note(facts.local->name + " has " + std::to_string(facts.local->link->mtu.value()) + " bytes, the tunnel " +
                      std::to_string(mtu - overhead),
                  "longer packets to the fleet are answered with an ICMP error, or dropped where that is filtered",
                  "give the routes of senders to the fleet an MTU of " + std::to_string(mtu - overhead));
  }
}

void check_offloads(const Facts& facts, Findings& findings) {
  for (const Side& side : sides(facts)) {
    const auto& device = side.interface.device;
    if (!device) {
      continue;
    }
    std::vector<std::string> enabled = device->offloads;
    if (generic(side)) {
      enabled.insert(enabled.end(), device->generic_offloads.begin(), device->generic_offloads.end());
    }
    if (enabled.empty()) {
      findings.ok(side.interface.name + ": none in the way");
      continue;
    }
    findings.note(side.interface.name + " has " + joined(enabled, ", "),
                  "they merge packets or hide their VLAN from XDP; the gateway switches them off at its start, and a "
                  "driver that does not let it loses packets",
                  "ethtool -K " + side.interface.name + " " + joined(enabled, " off ") + " off");
  }
}

void check_legs(const Facts& facts, Findings& findings) {
  bool any = false;
  for (const Side& side : sides(facts)) {
    if (side.interface.legs.empty()) {
      continue;
    }
    any = true;
    findings.slow(side.interface.name + " has the virtual function " + joined(side.interface.legs, ", ") +
                      " (accelerated networking)",
                  "packets arrive by it and not by " + side.interface.name +
                      ", whose XDP program sees only those that "
                      "come while it is being serviced",
                  side.key + ".interface: an interface without accelerated networking");
  }
  if (!any) {
    findings.ok("none");
  }
}

}  // namespace isthmus::doctor
