// Of interfaces, addresses, ports and settings of the network namespace.
#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>

#include <algorithm>
#include <utility>

#include "config/files/read_file.h"
#include "control/doctor/gather.h"
#include "control/kernel/links.h"
#include "control/kernel/netlink.h"
#include "control/kernel/sysctl.h"
#include "control/machine/machine.h"

namespace isthmus {
namespace {

constexpr std::size_t kMostTableBytes = std::size_t{32} << 20;
constexpr std::uint16_t kGenevePort = 5;  // IFLA_GENEVE_PORT

std::string table_text(const std::string& path) {
  const auto text = read_file(path, kMostTableBytes);
  return text ? *text : std::string();
}

// A link, as far as LinkState does not tell.
struct LinkKin {
  std::string name, kind;
  int index = 0, master = 0;
  std::optional<L4Port> port;  // of a tunnel device
};

LinkKin read_kin(const nlmsghdr* message) {
  const auto* header = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
  const NetlinkAttributes attributes(message, sizeof(*header));
  LinkKin link;
  link.name = attributes.text(IFLA_IFNAME);
  link.index = header->ifi_index;
  link.master = static_cast<int>(attributes.number(IFLA_MASTER).value_or(0));
  const nlattr* nest = attributes.get(IFLA_LINKINFO);
  if (nest == nullptr) {
    return link;
  }
  const NetlinkAttributes info(nest);
  link.kind = info.text(IFLA_INFO_KIND);
  const nlattr* data = info.get(IFLA_INFO_DATA);
  if (data != nullptr && (link.kind == "vxlan" || link.kind == "geneve")) {
    const auto port =
        NetlinkAttributes(data).number(link.kind == "vxlan" ? std::uint16_t{IFLA_VXLAN_PORT} : kGenevePort);
    if (port) {  // in network order
      link.port = L4Port{ntohs(static_cast<std::uint16_t>(*port))};
    }
  }
  return link;
}

std::vector<LinkKin> list_kin(NetlinkRequests& requests) {
  std::vector<LinkKin> all;
  NetlinkMessage message(RTM_GETLINK, 0);
  message.header<ifinfomsg>().ifi_family = AF_UNSPEC;
  const auto failed = requests.dump(
      message, [&] { all.clear(); }, [&](const nlmsghdr* reply) { all.push_back(read_kin(reply)); });
  return failed ? std::vector<LinkKin>() : all;
}

// Neighbours on an interface that did not answer, or do not so far.
std::vector<IpAddress> silent_neighbours(NetlinkRequests& requests, int interface) {
  std::vector<IpAddress> silent;
  NetlinkMessage message(RTM_GETNEIGH, 0);
  message.header<ndmsg>().ndm_family = AF_UNSPEC;
  const auto failed = requests.dump(
      message, [&] { silent.clear(); },
      [&](const nlmsghdr* reply) {
        const auto* header = static_cast<const ndmsg*>(mnl_nlmsg_get_payload(reply));
        const auto address = NetlinkAttributes(reply, sizeof(*header)).address(NDA_DST);
        if (header->ndm_ifindex == interface && (header->ndm_state & (NUD_FAILED | NUD_INCOMPLETE)) != 0 && address) {
          silent.push_back(*address);
        }
      });
  return failed ? std::vector<IpAddress>() : silent;
}

std::map<unsigned, std::vector<int>> interrupts_of(const std::string& name, const std::string& bus) {
  std::map<unsigned, std::vector<int>> all;
  for (const unsigned number : read_interrupts(table_text("/proc/interrupts"), name, bus)) {
    const std::string folder = "/proc/irq/" + std::to_string(number);
    std::vector<int> cpus = read_cpu_list(table_text(folder + "/effective_affinity_list"));
    all[number] = cpus.empty() ? read_cpu_list(table_text(folder + "/smp_affinity_list")) : std::move(cpus);
  }
  return all;
}

InterfaceFacts read_interface(const Machine& machine, NetlinkRequests& requests, const std::vector<LinkKin>& kin,
                              const std::string& name) {
  InterfaceFacts facts;
  facts.name = name;
  const std::string own = read_sysctl("ipv4/conf/" + name + "/rp_filter").value_or("");
  const std::string all = read_sysctl("ipv4/conf/all/rp_filter").value_or("");
  if (!own.empty()) {
    facts.reverse_path = std::max(own, all);
  }
  const MachineInterface* found = machine.interface(name);
  if (found == nullptr) {
    return facts;
  }
  facts.link = found->link;
  facts.addresses = found->addresses;
  facts.device = found->device;
  facts.interrupts = interrupts_of(name, found->device ? found->device->bus : "");
  for (const IpAddress& silent : silent_neighbours(requests, found->link.index)) {
    const bool router = std::any_of(machine.addresses.begin(), machine.addresses.end(), [&](const NodeAddress& one) {
      return one.router && one.interface == name && one.address == silent;
    });
    if (router) {
      facts.unresolved.push_back(silent.to_string());
    }
  }
  for (const LinkKin& link : kin) {
    if (link.master == found->link.index && found->device && found->device->driver == "hv_netvsc") {
      facts.legs.push_back(link.name);
    }
  }
  return facts;
}

PortFacts read_ports(const std::vector<LinkKin>& kin) {
  PortFacts ports;
  for (const char* family : {"", "6"}) {
    for (const auto& [table, sockets] : {std::pair{"tcp", &ports.tcp}, std::pair{"udp", &ports.udp}}) {
      auto read = read_sockets(table_text("/proc/self/net/" + std::string(table) + family));
      sockets->insert(sockets->end(), read.begin(), read.end());
    }
  }
  for (const LinkKin& link : kin) {
    if (link.port) {
      ports.tunnels.push_back({link.name, link.kind == "vxlan" ? "VXLAN" : "Geneve", *link.port});
    }
  }
  return ports;
}

}  // namespace

void read_network_facts(Facts& facts) {
  for (const char* key : {"ipv4/ip_forward", "ipv6/conf/all/forwarding"}) {
    if (const auto value = read_sysctl(key)) {
      facts.sysctls[key] = *value;
    }
  }
  const auto machine = read_machine();
  auto requests = NetlinkRequests::open();
  if (!machine || !requests) {
    facts.network_error = machine ? requests.error() : machine.error();
    return;
  }
  facts.memory = machine->memory;
  facts.addresses = machine->addresses;
  const std::vector<LinkKin> kin = list_kin(*requests);
  facts.ports = read_ports(kin);
  if (!facts.config) {
    return;
  }
  facts.underlay = read_interface(*machine, *requests, kin, facts.config->underlay.interface);
  const LocalDeviceConfig& local = facts.config->local;
  if (!local.veth && local.device.interface != facts.config->underlay.interface) {
    facts.local = read_interface(*machine, *requests, kin, local.device.interface);
  }
}

}  // namespace isthmus
