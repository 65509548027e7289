// The section `devices`, above all where DPDK has them.
#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "config/load/load.h"
#include "config/model/dpdk_name.h"

namespace isthmus {
namespace {

std::string with_devices(const std::string& underlay, const std::string& local, const std::string& more = "") {
  return "gateway: {name: east-1, cluster: east}\nhub: {file: {path: /hub}}\n" + more + "devices:\n  underlay: {" +
         underlay + "}\n  local: {" + local + "}\n";
}

GatewayConfig read_devices(const std::string& underlay, const std::string& local, const std::string& more = "") {
  const auto config = parse_config(with_devices(underlay, local, more), "g.yaml");
  EXPECT_TRUE(config.ok()) << config.error().text();
  return config.ok() ? *config : GatewayConfig{};
}

TEST(DpdkName, IsAnAddressDevargsOrAnInterface) {
  for (const auto& [name, kind] :
       {std::pair{"0000:00:05.0", DpdkNameKind::kPciAddress}, std::pair{"00:05.0", DpdkNameKind::kPciAddress},
        std::pair{"10000:E1:00.1,port=1", DpdkNameKind::kPciAddress}, std::pair{"net_null0", DpdkNameKind::kDevargs},
        std::pair{"net_memif0,role=client", DpdkNameKind::kDevargs},
        std::pair{"vmbus:635a7ae3-091e-4410-ad59-667c4f8c04c3", DpdkNameKind::kDevargs},
        std::pair{"635a7ae3-091e-4410-ad59-667c4f8c04c3", DpdkNameKind::kDevargs},
        std::pair{"auxiliary:mlx5_core.sf.4", DpdkNameKind::kDevargs},
        std::pair{"bus=pci/class=eth", DpdkNameKind::kDevargs}, std::pair{"eth0", DpdkNameKind::kInterface},
        std::pair{"enp0s5.100", DpdkNameKind::kInterface}}) {
    EXPECT_EQ(dpdk_name_kind(name), kind) << name;
  }
  for (const char* wrong : {"", "0000:00:05", "0000:00:5.0", "00:05:0", "-l0", "--vdev=net_null0", "eth 0",
                            "an_interface_of_16", "/dev/uio0"}) {
    EXPECT_EQ(dpdk_name_kind(wrong), std::nullopt) << wrong;
  }
  EXPECT_EQ(pci_address_of("0A:1F.3,args=1"), "0000:0a:1f.3");
  EXPECT_EQ(pci_address_of("eth0"), "");
}

TEST(DpdkDevices, OneServesBothSidesUnderOneInterface) {
  const auto one =
      read_devices("dpdk: 0000:00:05.0, ring_entries: 512, mtu: 1600", "dpdk: \"00:05.0\", delivery: route");
  EXPECT_TRUE(one.uses_dpdk());
  EXPECT_TRUE(one.one_device());
  EXPECT_EQ(one.underlay.interface, "dpdk0");
  EXPECT_EQ(one.local.device.interface, "dpdk0");
  EXPECT_EQ(one.local.device.dpdk, "0000:00:05.0");
  EXPECT_EQ(one.local.device.ring_entries, 512U);
  EXPECT_EQ(one.underlay_mtu, 1600U);
  const auto named = read_devices("dpdk: net_null0, interface: uplink", "interface: uplink");
  EXPECT_TRUE(named.one_device());
  EXPECT_EQ(named.local.device.dpdk, "net_null0");
}

TEST(DpdkDevices, TwoHaveAnInterfaceEach) {
  const auto two = read_devices("dpdk: 0000:00:05.0", "dpdk: 0000:00:06.0, mtu: 1400, ring_entries: 128");
  EXPECT_FALSE(two.one_device());
  EXPECT_EQ(two.underlay.interface, "dpdk0");
  EXPECT_EQ(two.local.device.interface, "dpdk1");
  EXPECT_EQ(two.local.mtu, 1400U);
  EXPECT_EQ(two.local.device.ring_entries, 128U);
}

TEST(DpdkDevices, StandBesideAVethPairOrAnInterfaceOfAfXdp) {
  const auto veth = read_devices("dpdk: eth1", "interface: isthmus0, veth: true, kernel_forwarding: off");
  EXPECT_TRUE(veth.local.veth);
  EXPECT_FALSE(veth.one_device());
  EXPECT_EQ(veth.local.device.dpdk, "");
  const auto af_xdp = read_devices("dpdk: eth1", "interface: eth2, xdp: native");
  EXPECT_EQ(af_xdp.local.device.xdp, XdpMode::kNative);
  const auto local_only = read_devices("interface: eth0, busy_poll_us: 20", "dpdk: net_null0");
  EXPECT_EQ(local_only.underlay.dpdk, "");
  EXPECT_EQ(local_only.local.device.interface, "dpdk1");
}

TEST(DpdkDevices, HaveTheMemoryThatIsAskedFor) {
  const auto config = read_devices("dpdk: net_null0", "dpdk: net_null0",
                                   "engine: {dpdk: {memory_mb: 128, huge_pages: required, iommu: none}}\n");
  EXPECT_EQ(config.dpdk_memory, (DpdkMemory{DpdkPages::kHuge, 128}));
  EXPECT_EQ(config.dpdk_iommu, DpdkIommu::kNone);
  const GatewayConfig defaults;
  EXPECT_EQ(defaults.dpdk_memory, DpdkMemory{});
  EXPECT_EQ(defaults.dpdk_iommu, DpdkIommu::kRequired);
  EXPECT_FALSE(defaults.uses_dpdk());
}

TEST(DpdkDevices, ShowNothingThatOnlyAfXdpHas) {
  const std::string shown = describe(read_devices("dpdk: net_null0", "interface: eth0"));
  EXPECT_NE(shown.find("devices.underlay.dpdk: net_null0\n"), std::string::npos) << shown;
  EXPECT_NE(shown.find("devices.underlay.xdp: -\n"), std::string::npos) << shown;
  EXPECT_NE(shown.find("devices.underlay.ring_entries: 2048\n"), std::string::npos) << shown;
  EXPECT_NE(shown.find("devices.local.xdp: auto\n"), std::string::npos) << shown;
}

struct WrongDevices {
  const char *underlay, *local;
  const char *what, *fix;
  const char* more = "";
};
class DpdkErrors : public testing::TestWithParam<WrongDevices> {};

TEST_P(DpdkErrors, AreNamedWithTheirRemedy) {
  const WrongDevices& row = GetParam();
  const auto errors = check_config(with_devices(row.underlay, row.local, row.more), "g.yaml");
  ASSERT_EQ(errors.size(), 1U) << (errors.empty() ? row.what : errors[0].text() + "\n" + errors.back().text());
  EXPECT_NE(errors[0].what.find(row.what), std::string::npos) << errors[0].text();
  EXPECT_NE(errors[0].fix.find(row.fix), std::string::npos) << errors[0].text();
}

INSTANTIATE_TEST_SUITE_P(
    All, DpdkErrors,
    testing::Values(
        WrongDevices{"dpdk: 0000:00:05.0, xdp: native", "dpdk: 0000:00:05.0",
                     "devices.underlay.xdp is set beside devices.underlay.dpdk", "no XDP program"},
        WrongDevices{"dpdk: net_null0, zero_copy: require", "dpdk: net_null0", "underlay.zero_copy is set", "copied"},
        WrongDevices{"dpdk: net_null0, kernel_forwarding: on", "dpdk: net_null0", "kernel_forwarding", "the engine's"},
        WrongDevices{"dpdk: net_null0, busy_poll_us: 20", "dpdk: net_null0", "busy_poll_us", "poll"},
        WrongDevices{"dpdk: net_null0, busy_poll_budget: 32", "dpdk: net_null0", "busy_poll_budget", "poll"},
        WrongDevices{"dpdk: net_null0, heartbeat_timeout: 2s", "dpdk: net_null0", "heartbeat_timeout", "watches"},
        WrongDevices{"dpdk: net_null0, on_engine_down: pass", "dpdk: net_null0", "on_engine_down", "nothing arrives"},
        WrongDevices{"interface: eth0", "dpdk: net_null0, xdp: native", "devices.local.xdp", "leave it out"},
        WrongDevices{"dpdk: eth0, interface: eth0", "dpdk: eth0", "is the NIC itself, \"eth0\"", "dpdk0"},
        WrongDevices{"dpdk: 0000:00:05", "interface: eth0", "underlay.dpdk is \"0000:00:05\"", "a PCI address"},
        WrongDevices{"dpdk: net_null0", "interface: isthmus0, veth: true, dpdk: net_null1",
                     "devices.local.veth is set beside devices.local.dpdk", "keep one"},
        WrongDevices{"dpdk: net_null0", "dpdk: net_null0, interface: other", "whose interface is \"dpdk0\"",
                     "leave it out"},
        WrongDevices{"dpdk: net_null0", "dpdk: net_null1, interface: dpdk0",
                     "both devices have the interface \"dpdk0\"", "of its own"},
        WrongDevices{"interface: dpdk1", "dpdk: net_null1", "devices.local.dpdk is not the underlay's", "of its own"},
        WrongDevices{"interface: eth0, mtu: 1600", "interface: eth0", "devices.underlay.mtu is set without", "ip link"},
        WrongDevices{"dpdk: net_null0, mtu: 3635", "dpdk: net_null0", "out of range", "1280 to 3634"},
        WrongDevices{"dpdk: net_null0", "dpdk: net_null1, mtu: 3635", "more than a DPDK device carries", "3634"},
        WrongDevices{"dpdk: net_null0", "dpdk: net_null0, mtu: 1500", "devices.local.mtu is set for the underlay's",
                     "move it to devices.underlay"},
        WrongDevices{"dpdk: net_null0", "delivery: route", "devices.local.interface is missing", "interface name"},
        WrongDevices{"mtu: auto", "interface: eth0", "devices.underlay.interface is missing", "interface name"},
        WrongDevices{"dpdk: net_null0, interface: an_interface_of_16", "interface: eth0", "underlay.interface", "15"},
        WrongDevices{"dpdk: net_null0", "dpdk: net_null0", "cannot be handed over", "state.directory",
                     "handover: {wait: 5s}\n"},
        WrongDevices{"dpdk: net_null0", "dpdk: net_null0", "engine.dpdk.huge_pages is \"some\"",
                     "auto, required or none", "engine: {dpdk: {huge_pages: some}}\n"},
        WrongDevices{"dpdk: net_null0", "dpdk: net_null0", "engine.dpdk.memory_mb", "16 to 65536",
                     "engine: {dpdk: {memory_mb: 1}}\n"}));

}  // namespace
}  // namespace isthmus
