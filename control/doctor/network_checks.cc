#include <algorithm>
#include <string>
#include <vector>

#include "control/doctor/check_list.h"
#include "control/kernel/reverse_path.h"
#include "dataplane/api/encapsulation.h"

namespace isthmus::doctor {
namespace {

std::string addresses_text(const std::vector<NodeAddress>& addresses) {
  std::string text;
  for (const NodeAddress& address : addresses) {
    text += (text.empty() ? "" : ", ") + address.address.to_string();
  }
  return text.empty() ? "none" : text;
}

const NodeAddress* find_address(const Facts& facts, const IpAddress& address) {
  const auto found = std::find_if(facts.addresses.begin(), facts.addresses.end(),
                                  [&](const NodeAddress& one) { return !one.router && one.address == address; });
  return found == facts.addresses.end() ? nullptr : &*found;
}

// That of our tunnels, or of both kinds where the Gateway object is not known.
std::vector<L4Port> tunnel_ports(const Facts& facts) {
  if (facts.own) {
    return {facts.own->port};
  }
  std::vector<L4Port> ports;
  for (const EncapsulationInfo& info : encapsulations()) {
    if (info.kind != EncapsulationKind::kNone) {
      ports.push_back(info.default_port);
    }
  }
  return ports;
}

}  // namespace

void check_reverse_path(const Facts& facts, Findings& findings) {
  for (const auto* interface : {&facts.underlay, &facts.local}) {
    if (!*interface || !(*interface)->reverse_path) {
      continue;
    }
    const std::string& name = (*interface)->name;
    if (*(*interface)->reverse_path != "1") {
      findings.ok(name + ": not strict");
    } else if (interface == &facts.underlay && facts.config->local.veth) {
      findings.note("rp_filter of " + name + " is strict",
                    "with several gateways, the kernel drops packets whose route back leads through another one; the "
                    "gateway sets it to loose at its start, if /proc/sys can be written",
                    loosen_reverse_path_command(name));
    } else {
      findings.slow("rp_filter of " + name + " is strict",
                    "packets that the engine leaves to the kernel are dropped where their route back is another one",
                    loosen_reverse_path_command(name));
    }
  }
}

void check_forwarding(const Facts& facts, Findings& findings) {
  const auto is_off = [&](const std::string& key) {
    const auto at = facts.sysctls.find(key);
    return at != facts.sysctls.end() && at->second == "0";
  };
  if (!facts.config->local.veth) {
    findings.ok("the engine forwards by itself");
    return;
  }
  bool good = true;
  for (const std::string key : {"ipv4/ip_forward", "ipv6/conf/all/forwarding"}) {
    if (is_off(key)) {
      std::string name = "net." + key;
      std::replace(name.begin(), name.end(), '/', '.');
      findings.fails(name + " is 0", "the kernel does not forward packets between the pods and the gateway's veth pair",
                     "sysctl -w " + name + "=1");
      good = false;
    }
  }
  if (good) {
    findings.ok("the kernel forwards");
  }
}

void check_own_addresses(const Facts& facts, Findings& findings) {
  if (!facts.own) {
    if (facts.own_error) {
      findings.fails(facts.own_error->what, "the gateway waits for its own objects, and does not serve",
                     facts.own_error->fix);
    } else {
      findings.note("the Gateway object is in a hub that is not asked for it here",
                    "its underlayAddress is not checked", "");
    }
    return;
  }
  for (const Family family : {Family::kIpv4, Family::kIpv6}) {
    const IpAddress* own = facts.own->address(family);
    if (own == nullptr) {
      continue;
    }
    const NodeAddress* found = find_address(facts, *own);
    const std::string interface = facts.config->underlay.interface;
    const std::string has = facts.underlay ? addresses_text(facts.underlay->addresses) : "none";
    if (!facts.config->underlay.dpdk.empty() && (found == nullptr || found->interface != interface)) {
      findings.note("the underlayAddress " + own->to_string() + " of the Gateway object is " +
                        (found == nullptr ? "on no interface" : "on " + found->interface) + ", and " + interface +
                        " is made by the gateway",
                    "other gateways' packets find it by the address of " + interface,
                    "give " + interface + " the address, as by a file of systemd-networkd's that matches its name");
      continue;
    }
    if (found == nullptr) {
      findings.fails(
          "no interface has " + own->to_string() + ", the underlayAddress of the Gateway object",
          "other gateways' packets do not arrive here, or are answered by nobody",
          interface + " has " + has + ": correct the object, or ip addr add " + own->to_string() + " dev " + interface);
    } else if (found->interface != interface) {
      findings.fails("the underlayAddress " + own->to_string() + " of the Gateway object is on " + found->interface +
                         ", not on " + interface,
                     "packets to it arrive where the gateway does not look",
                     "devices.underlay.interface: " + found->interface + ", or correct the object");
    } else {
      findings.ok(interface + " has " + own->to_string() + ", port " + std::to_string(facts.own->port.value()));
    }
  }
}

void check_translation(const Facts& facts, Findings& findings) {
  bool any = false;
  for (const auto& [address, key] : {std::pair{facts.config->translation_ipv4, "translation.ipv4"},
                                     std::pair{facts.config->translation_ipv6, "translation.ipv6"}}) {
    if (!address) {
      continue;
    }
    any = true;
    const NodeAddress* found = find_address(facts, *address);
    const bool router = std::any_of(facts.addresses.begin(), facts.addresses.end(),
                                    [&, &at = address](const auto& one) { return one.router && one.address == *at; });
    if (router) {
      findings.fails(std::string(key) + " " + address->to_string() + " is a router's",
                     "replies of translated connections go there", std::string(key) + ": an address that nobody has");
    } else if (found != nullptr) {
      findings.slow(
          std::string(key) + " " + address->to_string() + " is an address of this machine's, on " + found->interface,
          "the machine's own connections from its ports are taken for translated ones",
          std::string(key) + ": an address of this cluster's that nobody has");
    } else {
      findings.ok(std::string(key) + " " + address->to_string() +
                  (facts.config->local.veth ? "" : "; the cluster's nodes need a route to it through this machine"));
    }
  }
  if (!any) {
    findings.note("neither translation.ipv4 nor translation.ipv6 is set",
                  "connections through a VIP to a backend of this cluster are dropped and counted",
                  "translation.ipv4: an address of this cluster's that nobody has");
  }
}

void check_neighbours(const Facts& facts, Findings& findings) {
  if (!facts.underlay || !facts.underlay->link) {
    return;
  }
  for (const std::string& router : facts.underlay->unresolved) {
    findings.slow("nobody on " + facts.underlay->name + " answers for the router " + router,
                  "packets to gateways behind it wait, and are lost",
                  "see to the route and to the router: ip neigh show dev " + facts.underlay->name);
  }
  if (facts.underlay->unresolved.empty()) {
    findings.ok("no router is known to be silent");
  }
}

void check_tunnel_port(const Facts& facts, Findings& findings) {
  const bool by_tunnel = facts.config->local.delivery == LocalDelivery::kTunnel;
  bool any = false;
  for (const L4Port port : tunnel_ports(facts)) {
    const std::string number = std::to_string(port.value());
    for (const TunnelDevice& device : facts.ports.tunnels) {
      if (device.port != port) {
        continue;
      }
      any = true;
      const std::string found = "the kernel's " + device.kind + " device " + device.name + " has UDP port " + number;
      if (by_tunnel) {
        findings.fails(found,
                       "with devices.local.delivery: tunnel its packets would be taken from it, and the gateway "
                       "does not start",
                       "devices.local.delivery: route, or run the gateway on a host without that overlay");
      } else {
        findings.note(found,
                      "the gateway takes from the port what other gateways send, and leaves it the rest; a node of "
                      "this cluster at a gateway's address would lose its packets",
                      "spec.port of the Gateway object: another one, where that may be (Cilium: tunnel-port)");
      }
    }
    const bool socket = std::any_of(facts.ports.udp.begin(), facts.ports.udp.end(),
                                    [&](const KernelSocket& one) { return one.port == port; });
    if (socket && !any) {
      any = true;
      findings.note("a program has UDP port " + number, "what other gateways send to the port is taken from it",
                    "ss -lunp shows which; give one of the two another port");
    }
  }
  if (!any) {
    findings.ok("nobody else has it");
  }
}

void check_metrics_port(const Facts& facts, Findings& findings) {
  if (!facts.config->metrics_enabled) {
    findings.ok("metrics are off");
    return;
  }
  const IpAddress& own = facts.config->metrics_address;
  const bool taken = std::any_of(facts.ports.tcp.begin(), facts.ports.tcp.end(), [&](const KernelSocket& one) {
    return one.listens && one.port.value() == facts.config->metrics_port &&
           (one.address == own || one.address.is_unspecified() || own.is_unspecified());
  });
  const std::string port = std::to_string(facts.config->metrics_port);
  if (taken && !facts.admin.listens) {
    findings.slow("a program has TCP port " + port, "the gateway runs without metrics until the port is free",
                  "ss -ltnp shows which; metrics.port: another one");
  } else {
    findings.ok(taken ? "the running gateway has port " + port : "port " + port + " is free");
  }
}

}  // namespace isthmus::doctor
