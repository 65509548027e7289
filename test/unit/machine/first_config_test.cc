#include "control/machine/first_config.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "config/load/load.h"

namespace isthmus::test {
namespace {

MachineInterface interface(const std::string& name, const std::string& address, unsigned queues = 1,
                           std::uint32_t mtu = 1500) {
  MachineInterface one;
  one.link.interface = name;
  one.link.mtu = Bytes{mtu};
  one.link.up = one.link.running = true;
  if (!address.empty()) {
    one.addresses = {{*IpAddress::parse(address), name, false, 24}};
  }
  one.device = DeviceFacts{};
  one.device->driver = "driver";
  one.device->rx_queues = one.device->tx_queues = one.device->most_queues = queues;
  return one;
}

Machine machine_of(std::vector<MachineInterface> interfaces, int cpus = 8) {
  Machine machine;
  machine.host = "North-1.example.org";
  machine.interfaces = std::move(interfaces);
  for (int cpu = 0; cpu < cpus; ++cpu) {
    machine.cpus.online.push_back(cpu);
    machine.cpus.allowed.push_back(cpu);
    machine.cpus.siblings[cpu] = {cpu / 2 * 2, cpu / 2 * 2 + 1};
  }
  machine.memory = {std::uint64_t{32} << 30, std::uint64_t{30} << 30, std::uint64_t{16} << 30};
  return machine;
}

std::vector<ConfigLine> lines_of(const Machine& machine, const FirstConfigChoices& choices) {
  auto lines = first_config(machine, choices);
  EXPECT_TRUE(lines) << lines.error().text();
  return lines ? *lines : std::vector<ConfigLine>();
}

// What `isthmus config check` says of it.
std::vector<std::string> complaints(const Machine& machine, const std::vector<ConfigLine>& lines) {
  std::vector<std::string> texts;
  const std::string text = config_text(first_config_header(machine), lines);
  for (const Error& error : check_config(text, "f")) {
    texts.push_back(error.what);
  }
  return texts;
}

GatewayConfig config_of(const Machine& machine, const FirstConfigChoices& choices) {
  auto config = parse_config(config_text("", lines_of(machine, choices)), "f");
  EXPECT_TRUE(config) << config.error().text();
  return config ? *config : GatewayConfig();
}

FirstConfigChoices cluster_named(const std::string& name) {
  FirstConfigChoices choices;
  choices.cluster = name;
  return choices;
}

std::vector<std::pair<std::string, Machine>> machines() {
  std::vector<std::pair<std::string, Machine>> all;
  const auto add = [&](const char* name, Machine machine, const char* ipv4, const char* ipv6) {
    if (ipv4 != nullptr) {
      machine.default_ipv4 = ipv4;
    }
    if (ipv6 != nullptr) {
      machine.default_ipv6 = ipv6;
    }
    all.emplace_back(name, std::move(machine));
  };
  add("one interface", machine_of({interface("eth0", "192.0.2.1")}), "eth0", nullptr);
  add("two interfaces", machine_of({interface("eth0", "192.0.2.1"), interface("eth1", "10.0.0.1")}), "eth0", "eth1");
  add("IPv6 only", machine_of({interface("eth0", "2001:db8::1")}), nullptr, "eth0");
  add("jumbo", machine_of({interface("eth0", "192.0.2.1", 4, 9000)}), "eth0", nullptr);
  add("no default route", machine_of({interface("ens3", "192.0.2.1")}), nullptr, nullptr);
  add("many queues", machine_of({interface("eth0", "192.0.2.1", 1000)}, 64), "eth0", nullptr);
  add("many queues, one CPU", machine_of({interface("eth0", "192.0.2.1", 64)}, 1), "eth0", nullptr);
  add("strange name", machine_of({interface("en#0'x", "192.0.2.1")}), "en#0'x", nullptr);
  add("name that is a word", machine_of({interface("on", "192.0.2.1")}), "on", nullptr);
  Machine node = machine_of({interface("eth0", "192.0.2.1", 8)});
  node.kubernetes = "/var/lib/kubelet/config.yaml";
  node.hubs.in_cluster = true;
  add("Kubernetes node", node, "eth0", nullptr);
  Machine bare = machine_of({interface("eth0", "192.0.2.1")}, 0);
  bare.memory = {};
  bare.systemd = bare.service = true;
  bare.admin_group = "isthmus-admin";
  add("nothing known of CPUs and memory", bare, "eth0", nullptr);
  return all;
}

TEST(FirstConfig, PassesTheCheckOnEveryMachineOnceTheClusterIsNamed) {
  for (const auto& [name, machine] : machines()) {
    EXPECT_EQ(complaints(machine, lines_of(machine, cluster_named("east"))), std::vector<std::string>()) << name;
  }
}

// As of WireGuard and other tunnels without Ethernet.
TEST(FirstConfig, AnInterfaceWithoutEthernetIsNotChosen) {
  Machine machine = machine_of({interface("wg0", "10.9.0.2"), interface("eth0", "192.0.2.1")});
  machine.interfaces.front().link.ethernet = false;
  machine.default_ipv4 = "wg0";
  const auto lines = lines_of(machine, cluster_named("east"));
  const auto chosen = std::find_if(lines.begin(), lines.end(),
                                   [](const ConfigLine& line) { return line.key == "devices.underlay.interface"; });
  ASSERT_NE(chosen, lines.end());
  EXPECT_EQ(chosen->value, "eth0");
  FirstConfigChoices asked = cluster_named("east");
  asked.interface = "wg0";
  EXPECT_FALSE(first_config(machine, asked));
  asked = cluster_named("east");
  asked.local_interface = "lo";
  EXPECT_FALSE(first_config(machine, asked));
}

TEST(FirstConfig, WithoutTheClustersNameTheCheckNamesJustThat) {
  for (const auto& [name, machine] : machines()) {
    EXPECT_EQ(complaints(machine, lines_of(machine, {})), std::vector<std::string>{"gateway.cluster is missing"})
        << name;
  }
}

// Each example of a line that is left out can be used as it stands.
TEST(FirstConfig, WhatIsLeftOutIsAKeyWithAValueThatCanBeUsed) {
  for (const auto& [name, machine] : machines()) {
    const auto lines = lines_of(machine, cluster_named("east"));
    for (std::size_t i = 0; i < lines.size(); ++i) {
      EXPECT_FALSE(lines[i].why.empty()) << lines[i].key;
      auto changed = lines;
      changed[i].kind = ConfigLine::Kind::kSet;
      if (changed[i].key == "engine.cores") {  // instead of so many workers
        std::erase_if(changed, [](const ConfigLine& line) { return line.key == "engine.workers"; });
      }
      if (changed[i].key == "hub.etcd.clusters") {
        std::find_if(changed.begin(), changed.end(), [](const ConfigLine& line) {
          return line.key == "gateway.cluster_id";
        })->kind = ConfigLine::Kind::kSet;
      }
      EXPECT_EQ(complaints(machine, changed), std::vector<std::string>()) << name << ": " << lines[i].key;
    }
  }
}

TEST(FirstConfig, TakesTheInterfaceOfTheDefaultRouteAndMentionsTheOther) {
  const Machine machine = machines()[1].second;
  const GatewayConfig config = config_of(machine, cluster_named("east"));
  EXPECT_EQ(config.name, "north-1");
  EXPECT_EQ(config.underlay.interface, "eth0");
  EXPECT_EQ(config.local.device.interface, "eth0");
  EXPECT_FALSE(config.local.veth);
  EXPECT_NE(config_text("", lines_of(machine, {})).find("eth1, 10.0.0.1"), std::string::npos);
}

TEST(FirstConfig, WhereNothingSaysWhichInterfaceItIsLeftToAPerson) {
  const Machine machine = machine_of({interface("eth0", "192.0.2.1"), interface("eth1", "10.0.0.1")});
  const auto lines = lines_of(machine, cluster_named("east"));
  EXPECT_EQ(complaints(machine, lines),
            (std::vector<std::string>{"devices.underlay.interface is missing", "devices.local.interface is missing"}));
  EXPECT_TRUE(std::any_of(lines.begin(), lines.end(), [](const ConfigLine& line) {
    return line.why.find("eth0: 192.0.2.1; eth1: 10.0.0.1") != std::string::npos;
  }));
  FirstConfigChoices choices = cluster_named("east");
  choices.interface = "eth1";
  EXPECT_EQ(config_of(machine, choices).underlay.interface, "eth1");
  choices.interface = "eth9";
  const auto none = first_config(machine, choices);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().fix, "--interface: one of eth0, eth1");
}

TEST(FirstConfig, WorkersHaveCoresOfTheirOwnWhereThereAreEnough) {
  Machine machine = machine_of({interface("eth0", "192.0.2.1", 2)});
  machine.default_ipv4 = "eth0";
  EXPECT_EQ(config_of(machine, cluster_named("east")).cores, (std::vector<int>{5, 7}));  // of two cores, not the first
  machine.interfaces[0].device->rx_queues = 16;
  EXPECT_EQ(config_of(machine, cluster_named("east")).cores.size(), 2U);  // as many as it can send by
  machine.interfaces[0].device->tx_queues = 16;
  EXPECT_EQ(config_of(machine, cluster_named("east")).cores, (std::vector<int>{3, 5, 7}));
  machine.cpus.allowed = {0, 1};
  EXPECT_TRUE(config_of(machine, cluster_named("east")).cores.empty());
  machine.kubernetes = "kubelet";
  machine.cpus.allowed = {0, 1, 2, 3, 4, 5, 6, 7};
  EXPECT_TRUE(config_of(machine, cluster_named("east")).cores.empty());
}

TEST(FirstConfig, TheConnectionTableFitsIntoMemory) {
  Machine machine = machines()[0].second;
  EXPECT_EQ(config_of(machine, cluster_named("east")).connections, 4194304U);
  machine.memory.shared_free = std::uint64_t{64} << 20;
  EXPECT_EQ(config_of(machine, cluster_named("east")).connections, 65536U);  // 31 MiB
  machine.memory.limit = std::uint64_t{64} << 20;
  EXPECT_EQ(config_of(machine, cluster_named("east")).connections, 16384U);  // 8 MiB
  machine.memory.shared_free = std::nullopt;
  EXPECT_EQ(config_of(machine, cluster_named("east")).connections, 1024U);
}

TEST(FirstConfig, QueuesHaveBuffers) {
  Machine machine = machine_of({interface("eth0", "192.0.2.1", 64)}, 2);
  machine.default_ipv4 = "eth0";
  EXPECT_EQ(config_of(machine, cluster_named("east")).frames, 65536U);
}

TEST(FirstConfig, TheHubsAreThoseThatAreFoundOrNamed) {
  Machine machine = machines()[0].second;
  EXPECT_EQ(config_of(machine, cluster_named("east")).hub_file, kUsualHubFolder);
  machine.hubs.mesh_clusters = {"south", "west"};
  machine.hubs.kubeconfigs = {"/root/.kube/config"};
  FirstConfigChoices choices = cluster_named("east");
  EXPECT_EQ(complaints(machine, lines_of(machine, choices)),
            std::vector<std::string>{"hub.etcd needs gateway.cluster_id"});
  choices.cluster_id = 7;
  const GatewayConfig found = config_of(machine, choices);
  EXPECT_EQ(found.etcd.clusters, kUsualMeshFolder);
  EXPECT_EQ(found.kubernetes.cluster, "/root/.kube/config");
  EXPECT_EQ(found.hub_file, std::nullopt);
  machine.hubs.in_cluster = true;
  EXPECT_EQ(config_of(machine, choices).kubernetes.cluster, "in-cluster");
  choices.hubs = {{"fleet", "/f"}, {"file", "/a b"}};
  const GatewayConfig named = config_of(machine, choices);
  EXPECT_EQ(named.kubernetes.fleet, "/f");
  EXPECT_EQ(named.hub_file, "/a b");
  EXPECT_FALSE(named.etcd.used());
}

TEST(FirstConfig, ANodeHasAVethPairForItsPods) {
  const GatewayConfig config = config_of(machines()[9].second, cluster_named("east"));
  EXPECT_TRUE(config.local.veth);
  EXPECT_EQ(config.local.device.interface, "isthmus0");
  EXPECT_EQ(config.workers, 1U);
}

TEST(FirstConfig, WithThePackageItsGroupAsksAndARestartHandsOver) {
  Machine machine = machines()[0].second;
  machine.systemd = true;
  EXPECT_EQ(config_of(machine, cluster_named("east")).admin_group, "root");
  EXPECT_EQ(config_of(machine, cluster_named("east")).handover_wait_ms, 0U);
  machine.service = true;
  machine.admin_group = "isthmus-admin";
  EXPECT_EQ(config_of(machine, cluster_named("east")).admin_group, "isthmus-admin");
  EXPECT_EQ(config_of(machine, cluster_named("east")).handover_wait_ms, 30'000U);
}

TEST(FirstConfig, ANameIsMadeOfTheHostsNameOrLeftToAPerson) {
  Machine machine = machines()[0].second;
  machine.host = "_Gate_way-.x";
  EXPECT_EQ(config_of(machine, cluster_named("east")).name, "gate-way");
  machine.host = std::string(200, 'a');
  EXPECT_EQ(config_of(machine, cluster_named("east")).name, std::string(63, 'a'));
  for (const char* host : {"", ".x", "---"}) {
    machine.host = host;
    EXPECT_EQ(complaints(machine, lines_of(machine, cluster_named("east"))),
              std::vector<std::string>{"gateway.name is missing"});
  }
}

}  // namespace
}  // namespace isthmus::test
