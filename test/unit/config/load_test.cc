#include "config/load/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <string>

namespace isthmus {
namespace {

using testing::HasSubstr;

constexpr auto kSmallest = R"(gateway: {name: east-1, cluster: east}
devices:
  underlay: {interface: eth0}
  local: {interface: isthmus0, veth: true}
hub: {file: {path: /hub}}
)";

std::string example(const std::string& name) { return std::string(ISTHMUS_CONFIG_DIR) + "/examples/" + name; }

// One line per error: "where: what (fix)".
std::string errors_of(const std::string& text) {
  std::string out;
  for (const Error& error : check_config(text, "g.yaml")) {
    EXPECT_FALSE(error.fix.empty()) << error.text();
    out += error.text() + "\n";
  }
  return out;
}

TEST(LoadConfig, TheSmallestConfigurationHasTheDefaults) {
  const auto config = parse_config(kSmallest, "g.yaml");
  ASSERT_TRUE(config.ok()) << config.error().text();
  EXPECT_EQ(config->file, "g.yaml");
  EXPECT_EQ(config->name, "east-1");
  EXPECT_EQ(config->cluster, "east");
  EXPECT_EQ(config->local.device.interface, "isthmus0");
  EXPECT_TRUE(config->local.veth);
  EXPECT_FALSE(config->local.mtu);
  EXPECT_EQ(config->hub_file, "/hub");
  EXPECT_EQ(config->admin_socket, "/run/isthmus/east-1.sock");
  const GatewayConfig defaults;
  EXPECT_EQ(config->connections, defaults.connections);
  EXPECT_EQ(config->health_interval_ms, defaults.health_interval_ms);
  EXPECT_EQ(config->state_directory, defaults.state_directory);
  EXPECT_FALSE(config->translation_ipv4);
  EXPECT_FALSE(config->dns_file);
}

TEST(LoadConfig, TheExampleOfANodeLoads) {
  const auto config = load_config(example("node.yaml"));
  ASSERT_TRUE(config.ok()) << config.error().text();
  EXPECT_EQ(config->file, example("node.yaml"));
  EXPECT_TRUE(config->local.veth);
  EXPECT_EQ(config->half_open_limit, 65536u);
  EXPECT_EQ(config->timeout_tcp_ms, 8'000'000u);
  EXPECT_EQ(config->timeout_tcp_closing_ms, 10'000u);
  EXPECT_EQ(config->icmp_errors_per_second, 100u);
  EXPECT_EQ(config->unknown_endpoint_hold_ms, 10'000u);
  EXPECT_EQ(config->translation_ipv4, IpAddress::parse("10.1.255.1"));
  EXPECT_EQ(config->translation_ipv6, IpAddress::parse("fd00:1::ff:1"));
  EXPECT_EQ(config->translation_first, 32768);
  EXPECT_EQ(config->translation_last, 65535);
  EXPECT_EQ(config->dns_file, "/run/isthmus/dns/global.hosts");
}

TEST(LoadConfig, TheExampleOfAVmHasOneDeviceWithOneSetOfSettings) {
  const auto config = load_config(example("vm.yaml"));
  ASSERT_TRUE(config.ok()) << config.error().text();
  EXPECT_EQ(config->cores, (std::vector<int>{2, 3}));
  EXPECT_EQ(config->idle, IdlePolicy::kSpin);
  EXPECT_FALSE(config->local.veth);
  EXPECT_EQ(config->local.device.interface, config->underlay.interface);
  EXPECT_EQ(config->local.device.ring_entries, 4096u);
  EXPECT_EQ(config->local.device.busy_poll_budget, 64u);
  EXPECT_EQ(config->local.device.xdp, XdpMode::kNative);
}

TEST(LoadConfig, TheExampleOfAVmWithDpdkHasOneDeviceOfItsOwn) {
  const auto config = load_config(example("vm-dpdk.yaml"));
  ASSERT_TRUE(config.ok()) << config.error().text();
  EXPECT_EQ(config->underlay.dpdk, "0000:00:05.0");
  EXPECT_TRUE(config->one_device());
  EXPECT_EQ(config->dpdk_memory, (DpdkMemory{DpdkPages::kHuge, 128}));
  EXPECT_EQ(config->dpdk_iommu, DpdkIommu::kNone);
}

TEST(LoadConfig, TheExampleOfAClusterMeshFollowsThreeHubs) {
  const auto config = load_config(example("mesh.yaml"));
  ASSERT_TRUE(config.ok()) << config.error().text();
  EXPECT_EQ(config->cluster_id, 1);
  EXPECT_EQ(config->hub_file, "/etc/isthmus/hub");
  EXPECT_EQ(config->kubernetes.cluster, "/etc/isthmus/kubeconfig");
  EXPECT_EQ(config->etcd.clusters, "/var/lib/cilium/clustermesh");
  EXPECT_EQ(config->etcd.hold_time_ms, 600'000U);
}

TEST(LoadConfig, EveryErrorIsNamedWithItsLineAndAFix) {
  const std::string errors = errors_of(R"(gateway: {name: East_1}
engine:
  worker: 2
  idle: nap
  connections: lots
  midstream: [adopt]
  identity_grace: 5
devices:
  underlay: {interface: eth/0, ring_entries: 3000, busy_poll_budget: 4}
  local: {interface: isthmus0, veth: yes please}
translation: {ipv4: "fd00::1", ports: 5-4}
hub: {file: {path: hub}}
health: {interval: 1ms}
)");
  for (const char* line : {
           R"(g.yaml:1: gateway.name is "East_1", not a name of 1 to 63 characters of a-z, 0-9, - and .)",
           "g.yaml:1: gateway.cluster is missing",
           R"(g.yaml:3: unknown key "worker" in engine (did you mean workers?))",
           R"(g.yaml:4: engine.idle is "nap" (write sleep or spin))",
           R"(g.yaml:5: engine.connections is "lots", not a whole number)",
           "g.yaml:6: engine.midstream is a list, not a single value",
           R"(g.yaml:7: engine.identity_grace is "5", not a duration (write a whole number with its unit)",
           R"(g.yaml:9: devices.underlay.interface is "eth/0")",
           "g.yaml:9: devices.underlay.ring_entries is 3000, not a power of two (write 2048 or 4096)",
           "g.yaml:9: devices.underlay.busy_poll_budget is 4, out of range",
           R"(g.yaml:10: devices.local.veth is "yes please", neither true nor false)",
           "g.yaml:11: translation.ipv4 is fd00::1, not an IPv4 address",
           R"(g.yaml:11: translation.ports is "5-4", not a range of ports)",
           R"(g.yaml:12: hub.file.path is "hub", not an absolute path)",
           R"(g.yaml:13: health.interval is "1ms", out of range (write a duration, 10ms to 1m))",
       }) {
    EXPECT_THAT(errors, HasSubstr(line));
  }
  EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 15) << errors;
}

TEST(LoadConfig, OutlierEjectionIsOffUnlessFailuresAreNamed) {
  const auto off = parse_config(kSmallest, "g.yaml");
  ASSERT_TRUE(off.ok()) << off.error().text();
  EXPECT_EQ(off->outlier_failures, 0u);
  const auto on = parse_config(
      std::string(kSmallest) + "services: {outlier_ejection: {failures: 5, time: 1m, max_percent: 30}}\n", "g.yaml");
  ASSERT_TRUE(on.ok()) << on.error().text();
  EXPECT_EQ(on->outlier_failures, 5u);
  EXPECT_EQ(on->outlier_time_ms, 60'000u);
  EXPECT_EQ(on->outlier_max_percent, 30u);
  const std::string errors = errors_of(std::string(kSmallest) + R"(services:
  outlier_ejection:
    failures: 1001
    time: 0s
    max_percent: 0
    share: 5
)");
  for (const char* line :
       {"g.yaml:8: services.outlier_ejection.failures is 1001, out of range",
        R"(g.yaml:9: services.outlier_ejection.time is "0s", out of range (write a duration, 1s to 1h))",
        "g.yaml:10: services.outlier_ejection.max_percent is 0, out of range",
        R"(g.yaml:11: unknown key "share" in services.outlier_ejection)"}) {
    EXPECT_THAT(errors, HasSubstr(line));
  }
  EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 4) << errors;
}

TEST(LoadConfig, TheFirstErrorIsReturnedWithTheNumberOfOthers) {
  const auto config = parse_config("gateway: {name: east-1, cluster: east}\n", "g.yaml");
  ASSERT_FALSE(config.ok());
  EXPECT_EQ(config.error().where, "g.yaml:1");
  EXPECT_THAT(config.error().what, HasSubstr("devices.underlay.interface is missing; and 2 more"));
}

TEST(LoadConfig, ADuplicateKeyIsAnErrorInEverySection) {
  EXPECT_THAT(errors_of(std::string(kSmallest) + "hub: {file: {path: /other}}\n"),
              HasSubstr("g.yaml:6: key \"hub\" is defined twice in the document (keep one of them)"));
  EXPECT_THAT(errors_of(std::string(kSmallest) + "log:\n  level: info\n  level: warn\n"),
              HasSubstr("g.yaml:8: key \"level\" is defined twice in log"));
}

TEST(LoadConfig, BrokenYamlIsOneErrorWithItsLine) {
  EXPECT_THAT(errors_of("gateway: {name: east-1,\n"), HasSubstr("not valid YAML"));
  EXPECT_THAT(errors_of("gateway:\n\tname: x\n"), HasSubstr("g.yaml:2: "));
  EXPECT_THAT(errors_of(""), HasSubstr("g.yaml:1: the configuration is empty"));
  EXPECT_THAT(errors_of("- a\n"), HasSubstr("the configuration is a list, not a mapping"));
  EXPECT_THAT(errors_of(std::string(kSmallest) + "---\nlog: {level: warn}\n"),
              HasSubstr("g.yaml:6: a second document begins"));
  EXPECT_THAT(errors_of("gateway: eth0\n"), HasSubstr("gateway is a value, not a mapping"));
}

TEST(LoadConfig, AFileThatCannotBeReadIsNamed) {
  const auto missing = load_config("/nonexistent/g.yaml");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().where, "/nonexistent/g.yaml");
  EXPECT_THAT(missing.error().what, HasSubstr("No such file"));
  EXPECT_FALSE(load_config("/tmp").ok());
}

struct SemanticRow {
  const char* description;
  const char* text;   // after gateway and hub
  const char* error;  // empty: none
};

class Hubs : public testing::TestWithParam<SemanticRow> {};

TEST_P(Hubs, AreCheckedTogether) {
  const auto& row = GetParam();
  const std::string errors = errors_of(std::string("gateway: {name: east-1, cluster: east}\n") +
                                       "devices: {underlay: {interface: eth0}, local: {interface: i0}}\n" + row.text);
  if (std::string(row.error).empty()) {
    EXPECT_EQ(errors, "");
  } else {
    EXPECT_THAT(errors, HasSubstr(row.error));
  }
}

constexpr SemanticRow kHubRows[] = {
    {"none", "", "no hub is named (write hub.file.path, hub.etcd.clusters or hub.kubernetes.cluster)"},
    {"a setting without a hub", "hub: {wait: 1s}\n", "g.yaml:3: no hub is named"},
    {"this cluster's API server", "hub: {kubernetes: {cluster: in-cluster}}\n", ""},
    {"a kubeconfig", "hub: {kubernetes: {cluster: /etc/isthmus/kubeconfig, namespaces_global: false}}\n", ""},
    {"a kubeconfig that is no path", "hub: {kubernetes: {cluster: kubeconfig}}\n", "g.yaml:3: hub.kubernetes.cluster"},
    {"a ClusterMesh without the cluster's number", "hub: {etcd: {clusters: /var/lib/cilium/clustermesh}}\n",
     "hub.etcd needs gateway.cluster_id"},
    {"two ways to a ClusterMesh", "hub: {etcd: {clusters: /a, kvstoremesh: /b}}\n", "keep one of the two"},
    {"a number of clusters between", "hub: {file: {path: /hub}, etcd: {max_connected_clusters: 300}}\n",
     "hub.etcd.max_connected_clusters is \"300\" (write 255 or 511, without quotes)"},
    {"a service without its namespace", "hub: {file: {path: /hub}, etcd: {gateway_service: isthmus-gateway}}\n",
     "g.yaml:3: hub.etcd.gateway_service"},
};
INSTANTIATE_TEST_SUITE_P(Rows, Hubs, testing::ValuesIn(kHubRows),
                         [](const auto& row) { return "Row" + std::to_string(row.index); });

TEST(LoadConfig, AClustersNumberIsOneOfThoseOfItsMesh) {
  const auto config = [](const char* more) {
    return std::string(
               "gateway: {name: east-1, cluster: east, cluster_id: 300}\n"
               "devices: {underlay: {interface: eth0}, local: {interface: i0}}\n"
               "hub: {etcd: {clusters: /a") +
           more + "}}\n";
  };
  EXPECT_THAT(errors_of(config("")),
              HasSubstr("g.yaml:1: gateway.cluster_id is 300, more than hub.etcd.max_connected_clusters (255)"));
  EXPECT_EQ(errors_of(config(", max_connected_clusters: 511")), "");
}

class Semantics : public testing::TestWithParam<SemanticRow> {};

TEST_P(Semantics, IsChecked) {
  const auto& row = GetParam();
  const std::string errors =
      errors_of(std::string("gateway: {name: east-1, cluster: east}\nhub: {file: {path: /hub}}\n") + row.text);
  if (std::string(row.error).empty()) {
    EXPECT_EQ(errors, "");
  } else {
    EXPECT_THAT(errors, HasSubstr(row.error));
  }
}

constexpr SemanticRow kSemantics[] = {
    {"a veth name of 14 characters leaves room for the engine's end",
     "devices: {underlay: {interface: eth0}, local: {interface: abcdefghijklmn, veth: true}}\n", ""},
    {"a veth name of 15 characters does not",
     "devices: {underlay: {interface: eth0}, local: {interface: abcdefghijklmno, veth: true}}\n",
     "too long for a veth pair (write at most 14 characters"},
    {"15 characters without veth", "devices: {underlay: {interface: eth0}, local: {interface: abcdefghijklmno}}\n", ""},
    {"16 characters", "devices: {underlay: {interface: abcdefghijklmnop}, local: {interface: b}}\n",
     "g.yaml:3: devices.underlay.interface is"},
    {"one device for both sides", "devices: {underlay: {interface: eth0}, local: {interface: eth0}}\n", ""},
    {"one device cannot be a veth pair of ours",
     "devices: {underlay: {interface: eth0}, local: {interface: eth0, veth: true}}\n",
     "names a veth pair after the underlay device"},
    {"nor its engine's end", "devices: {underlay: {interface: eth0x}, local: {interface: eth0, veth: true}}\n",
     "names a veth pair after the underlay device"},
    {"one device has one set of settings",
     "devices: {underlay: {interface: eth0}, local: {interface: eth0, xdp: native}}\n",
     "devices.local.xdp is set for the underlay's own device"},
    {"local settings of its own",
     "devices: {underlay: {interface: eth0}, local: {interface: i0, veth: true, mtu: 1400, xdp: generic, "
     "on_engine_down: "
     "pass, heartbeat_timeout: 2s, ring_entries: 512, busy_poll_us: 20, busy_poll_budget: 128}}\n",
     ""},
    {"an MTU IPv6 cannot use", "devices: {underlay: {interface: eth0}, local: {interface: i0, mtu: 1200}}\n",
     "devices.local.mtu is 1200, out of range"},
    {"a half-open limit above the capacity",
     "devices: {underlay: {interface: eth0}, local: {interface: i0}}\nengine: {connections: 1024, half_open_limit: "
     "2048}\n",
     "g.yaml:4: engine.half_open_limit is more than engine.connections"},
    {"workers beside cores that differ",
     "devices: {underlay: {interface: eth0}, local: {interface: i0}}\nengine: {cores: [1, 2], workers: 3}\n",
     "engine.workers is 3, but engine.cores names 2 CPUs"},
    {"a CPU twice", "devices: {underlay: {interface: eth0}, local: {interface: i0}}\nengine: {cores: [1, 1]}\n",
     "engine.cores names CPU 1 twice"},
    {"more CPUs than workers can be",
     "devices: {underlay: {interface: eth0}, local: {interface: i0}}\nengine: {cores: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, "
     "10, "
     "11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, "
     "39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64]}\n",
     "engine.cores names 65 CPUs"},
    {"an MTU that no packet buffer holds",
     "devices: {underlay: {interface: eth0}, local: {interface: i0, mtu: 13000}}\n",
     "devices.local.mtu is 13000, out of range"},
    {"a socket path the kernel cannot hold",
     "devices: {underlay: {interface: eth0}, local: {interface: i0}}\nadmin: {socket: "
     "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}"
     "\n",
     "not an absolute path of at most 107 bytes"},
    {"a path with a zero byte, where the kernel's would end",
     "devices: {underlay: {interface: eth0}, local: {interface: i0}}\nadmin: {socket: \"/run/a\\0b\"}\n",
     "not an absolute path"},
    {"empty sections are as good as none",
     "devices: {underlay: {interface: eth0}, local: {interface: i0}}\nlog:\nhealth: {interval: }\n", ""},
};
INSTANTIATE_TEST_SUITE_P(Rows, Semantics, testing::ValuesIn(kSemantics), [](const auto& row) {
  std::string name = row.param.description;
  for (char& c : name) {
    c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  }
  return name;
});

TEST(LoadConfig, DurationsHaveAUnit) {
  for (const auto& [text, milliseconds] :
       {std::pair("150ms", 150u), {"10s", 10'000u}, {"2m", 120'000u}, {"1h", 3'600'000u}}) {
    const auto config = parse_config(std::string(kSmallest) + "engine: {identity_grace: " + text + "}\n", "g.yaml");
    ASSERT_TRUE(config.ok()) << config.error().text();
    EXPECT_EQ(config->identity_grace_ms, milliseconds);
  }
  for (const char* text : {"5", "1.5s", "-1s", "5 s", "s", "5d", "", "99999999999999999999s", "2h"}) {
    const auto config = parse_config(std::string(kSmallest) + "engine: {identity_grace: \"" + text + "\"}\n", "g.yaml");
    EXPECT_FALSE(config.ok()) << text;
  }
}

TEST(Describe, ReadsBackAsTheSameConfiguration) {
  const auto config = load_config(example("node.yaml"));
  ASSERT_TRUE(config.ok()) << config.error().text();
  const std::string text = describe(*config);
  EXPECT_THAT(text, HasSubstr("gateway.name: east-1\n"));
  EXPECT_THAT(text, HasSubstr("engine.frames: 16384\n"));
  EXPECT_THAT(text, HasSubstr("translation.ports: 32768-65535\n"));
  EXPECT_THAT(text, HasSubstr("devices.local.mtu: auto\n"));
}

// A file of several gateways; the name that a test gives says whose it is.
constexpr auto kShared = R"(gateway: {cluster: east}
devices:
  underlay: {interface: eth0}
  local: {interface: isthmus0, veth: true}
translation: {ports: 40000-50000}
hub: {file: {path: /hub}}
gateways:
  node-a:
    translation: {ipv4: 10.1.255.1}
    devices: {underlay: {interface: ens5}}
  ip-10-0-0-2.ec2.internal:
    translation: {ipv4: 10.1.255.2}
    engine: {cores: [2]}
)";

TEST(LoadConfig, AGatewaysOwnKeysTakeThePlaceOfThoseForAll) {
  const auto first = parse_config(kShared, "g.yaml", "node-a");
  ASSERT_TRUE(first.ok()) << first.error().text();
  EXPECT_EQ(first->name, "node-a");
  EXPECT_EQ(first->admin_socket, "/run/isthmus/node-a.sock");
  EXPECT_EQ(first->underlay.interface, "ens5");
  EXPECT_EQ(first->translation_ipv4->to_string(), "10.1.255.1");
  EXPECT_EQ(first->translation_first, 40000);
  EXPECT_TRUE(first->cores.empty());
  const auto second = parse_config(kShared, "g.yaml", "ip-10-0-0-2.ec2.internal");
  ASSERT_TRUE(second.ok()) << second.error().text();
  EXPECT_EQ(second->underlay.interface, "eth0");
  EXPECT_EQ(second->cores, std::vector<int>{2});
  const auto other = parse_config(kShared, "g.yaml", "node-c");
  ASSERT_TRUE(other.ok()) << other.error().text();
  EXPECT_FALSE(other->translation_ipv4);
  EXPECT_EQ(gateways_in(kShared), (std::vector<std::string>{"node-a", "ip-10-0-0-2.ec2.internal"}));
}

TEST(LoadConfig, AGivenNameTakesThePlaceOfTheFiles) {
  EXPECT_EQ(parse_config(kSmallest, "g.yaml", "east-2")->name, "east-2");
  const auto own = parse_config(std::string(kSmallest) + "gateways: {east-1: {engine: {workers: 2}}}\n", "g.yaml");
  ASSERT_TRUE(own.ok()) << own.error().text();
  EXPECT_EQ(own->workers, 2u);
}

TEST(LoadConfig, AFileOfSeveralGatewaysNeedsAName) {
  EXPECT_THAT(errors_of(kShared), HasSubstr("gateway.name is missing"));
}

TEST(LoadConfig, ErrorsInAGatewaysOwnKeysNameTheirLine) {
  const auto errors = [](const std::string& gateways) {
    std::string out;
    for (const Error& error : check_config(kSmallest + gateways, "g.yaml", "a")) {
      EXPECT_FALSE(error.fix.empty()) << error.text();
      out += error.text() + "\n";
    }
    return out;
  };
  EXPECT_THAT(errors("gateways: {a: {engine: {wrokers: 1}}}\n"), HasSubstr("g.yaml:6"));
  EXPECT_THAT(errors("gateways: {a: 1}\n"), HasSubstr("gateways.a is a value, not a mapping"));
  EXPECT_THAT(errors("gateways: [a]\n"), HasSubstr("gateways is a list, not a mapping"));
  EXPECT_THAT(errors("gateways: {a: {gateway: {name: b}}}\n"), HasSubstr("names a gateway again"));
  EXPECT_THAT(errors("gateways: {a: {gateways: {}}}\n"), HasSubstr("names a gateway again"));
  EXPECT_EQ(errors("gateways: {b: {engine: {wrokers: 1}}}\n"), "");
}

TEST(LoadConfig, AnAliasIsOfAddressesThatNothingElseInTheFileHas) {
  const auto errors = [](const std::string& more, const std::string& alias = "100.64.0.0/16") {
    return errors_of(std::string(kSmallest) + "admission:\n  aliases: {west: [\"" + alias +
                     "\"]}\n  pods:\n    west: [10.1.0.0/16]\n" + more);
  };
  EXPECT_EQ(errors("    north: [10.2.0.0/16]\n  vip_pools: [100.65.0.0/16]\ntranslation: {ipv4: 100.66.0.1}\n"), "");
  EXPECT_EQ(errors("  vip_pools: [0.0.0.0/0]\n"), "") << "VIPs may be everywhere, pods too";
  EXPECT_EQ(
      errors("    north: [10.2.0.0/16]\n", "10.2.0.0/16"),
      "g.yaml:7: admission.aliases.west: the alias 10.2.0.0/16 overlaps 10.2.0.0/16 of admission.pods.north (give "
      "the cluster an alias that nothing else uses)\n");
  EXPECT_THAT(errors("  vip_pools: [192.168.0.0/24, 100.64.7.0/24]\n"),
              HasSubstr("g.yaml:7: admission.aliases.west: the alias 100.64.0.0/16 overlaps 100.64.7.0/24 of "
                        "admission.vip_pools (give"));
  EXPECT_THAT(errors("translation: {ipv4: 100.64.0.1}\n"),
              HasSubstr("the alias 100.64.0.0/16 overlaps 100.64.0.1, an address of translation (give"));
}

TEST(LoadConfig, AnAliasIsOfOneClusterAndOfAddressesThatSomebodyCanHave) {
  const auto errors = [](const std::string& west, const std::string& north, const std::string& pods = "10.1.0.0/16") {
    return errors_of(std::string(kSmallest) + "admission:\n  pods: {west: [\"" + pods + "\"], north: [\"" + pods +
                     "\"]}\n  aliases: {west: [\"" + west + "\"], north: [\"" + north + "\"]}\n");
  };
  EXPECT_EQ(errors("100.64.0.0/16", "100.65.0.0/16"), "");
  EXPECT_EQ(errors("192.0.2.0/24", "198.51.100.0/24", "10.1.1.0/24"), "") << "documentation may be tried out";
  EXPECT_THAT(errors_of(std::string(kSmallest) + "admission:\n  pods: {west: [10.1.0.0/16]}\n  aliases:\n"
                                                 "    west: [100.64.0.0/16]\n    north: [100.65.0.0/16]\n"),
              HasSubstr("g.yaml:10: admission.aliases.north: of IPv4 blocks it has 1, and admission.pods.north has 0 "
                        "(write in admission.pods.north which blocks"))
      << "with its own line";
  EXPECT_THAT(errors("100.64.0.0/16", "100.64.0.0/16"),
              HasSubstr("g.yaml:8: admission.aliases.west: the alias 100.64.0.0/16 overlaps 100.64.0.0/16, the alias "
                        "of cluster north (give each cluster an alias of its own"));
  for (const char* special : {"127.1.0.0/16", "169.254.0.0/16", "224.1.0.0/16", "0.1.0.0/16", "250.1.0.0/16"}) {
    EXPECT_THAT(errors("100.64.0.0/16", special),
                HasSubstr(std::string("admission.aliases.north: the alias ") + special + ", which is among the "))
        << special;
  }
  for (const char* special : {"fe80::/64", "ff05::/64", "64:ff9c::/64", "::/64", "64:ff9b:1::/64"}) {
    EXPECT_THAT(errors("fd64::/64", special, "fd00:1::/64"), HasSubstr("admission.aliases.north: the alias "))
        << special;
  }
}

TEST(LoadConfig, MetricsAreServedOnOneAddressOrOnAll) {
  for (const char* address : {"0.0.0.0", "::", "10.1.2.3"}) {
    const auto config = parse_config(std::string(kSmallest) + "metrics: {address: \"" + address + "\"}\n", "g.yaml");
    ASSERT_TRUE(config.ok()) << config.error().text();
    EXPECT_EQ(config->metrics_address.to_string(), address);
  }
  EXPECT_THAT(errors_of(std::string(kSmallest) + "metrics: {address: 224.0.0.1}\n"),
              HasSubstr("which no host can have"));
}

}  // namespace
}  // namespace isthmus
