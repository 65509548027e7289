#include "control/kernel/device_routes.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <algorithm>
#include <vector>

#include "control/kernel/route_entry.h"
#include "test/unit/kernel/network_namespace.h"

namespace isthmus::test {
namespace {

class DeviceRoutesTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (kernel_) {
      sh("ip addr add 10.1.0.1/32 dev lo && ip addr add fd00:1::1/128 dev lo");
      ASSERT_TRUE(kernel_->make_local_device({.mtu = Bytes{1450}}));
    }
  }
  // All routes of `family` in the main table, of any protocol.
  static std::vector<RouteEntry> table(Family family) {
    auto requests = NetlinkRequests::open();
    auto routes = list_routes(*requests, family, 0);
    EXPECT_TRUE(routes) << routes.error().text();
    return *routes;
  }
  static std::vector<Prefix> ours(std::uint8_t type = RTN_UNICAST) {
    std::vector<Prefix> prefixes;
    for (const Family family : {Family::kIpv4, Family::kIpv6}) {
      for (const RouteEntry& route : table(family)) {
        if (route.protocol == kRouteProtocol && route.type == type) {
          prefixes.push_back(route.prefix);
        }
      }
    }
    std::sort(prefixes.begin(), prefixes.end());
    return prefixes;
  }
  RouteReport set(const std::vector<Prefix>& prefixes, const RouteOptions& options = {}) {
    auto report = kernel_->set_routes("isthmus0", prefixes, options);
    EXPECT_TRUE(report) << report.error().text();
    return report ? *report : RouteReport{};
  }
};

TEST_F(DeviceRoutesTest, AreReconciledWithThePrefixes) {
  std::vector desired = {prefix("10.2.0.0/16"), prefix("10.200.0.10/32"), prefix("fd00:2::/48"),
                         prefix("fd00:ff::a/128")};
  std::sort(desired.begin(), desired.end());
  EXPECT_EQ(set(desired).added, 4U);
  EXPECT_EQ(ours(), desired);
  RouteReport again = set(desired);
  EXPECT_EQ(again.kept, 4U);
  EXPECT_EQ(again.added + again.changed + again.removed, 0U);

  desired.erase(desired.begin());
  desired.insert(desired.begin(), prefix("10.3.0.0/16"));
  std::sort(desired.begin(), desired.end());
  again = set(desired);
  EXPECT_EQ(again.added, 1U);
  EXPECT_EQ(again.removed, 1U);
  EXPECT_EQ(again.kept, 3U);
  EXPECT_EQ(ours(), desired);
  EXPECT_EQ(ours(RTN_BLACKHOLE), desired);
  EXPECT_EQ(set({}).removed, 4U);
  EXPECT_TRUE(ours().empty());
  EXPECT_TRUE(ours(RTN_BLACKHOLE).empty());
}

TEST_F(DeviceRoutesTest, AreChangedWithoutALookAtTheOthers) {
  set({prefix("10.2.0.0/16"), prefix("fd00:2::/48")});
  const auto change = [&](const std::vector<Prefix>& added, const std::vector<Prefix>& removed) {
    return kernel_->change_routes("isthmus0", added, removed, {});
  };
  auto changed = change({prefix("10.3.0.0/16"), prefix("fd00:3::/48")}, {prefix("10.2.0.0/16")});
  ASSERT_TRUE(changed) << changed.error().text();
  EXPECT_TRUE(*changed);
  const std::vector left = {prefix("10.3.0.0/16"), prefix("fd00:2::/48"), prefix("fd00:3::/48")};
  std::vector sorted = left;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(ours(), sorted);
  EXPECT_EQ(ours(RTN_BLACKHOLE), sorted);
  EXPECT_EQ(set(left).kept, 3U) << "as they would have been set together";
  changed = change({}, {prefix("10.2.0.0/16")});
  EXPECT_TRUE(changed && *changed) << "gone already";
  sh("ip link add elsewhere type veth peer name elsewhere-x && ip link set elsewhere up && ip link set elsewhere-x up");
  sh("ip route add 10.4.0.0/16 dev elsewhere proto bird metric 16");
  changed = change({prefix("10.4.0.0/16")}, {});
  EXPECT_TRUE(changed && !*changed) << "another program's is in the way";
  EXPECT_FALSE(kernel_->change_routes("none", left, {}, {}));
}

TEST_F(DeviceRoutesTest, WhenTheDeviceIsGoneFleetTrafficIsNotRoutedElsewhere) {
  sh("ip link add elsewhere type veth peer name elsewhere-x && ip link set elsewhere up && ip link set elsewhere-x up");
  sh("ip route add default dev elsewhere && ip -6 route add default dev elsewhere");
  set({prefix("10.2.0.0/16"), prefix("fd00:2::/48")});
  for (const char* change : {"ip link set isthmus0 down", "ip link del isthmus0"}) {
    sh(change);
    for (const char* destination : {"10.2.3.4", "fd00:2::5"}) {
      const auto hop = kernel_->next_hop(address(destination));
      EXPECT_FALSE(hop.ok()) << change << ": " << destination << " goes to " << hop->interface;
    }
    EXPECT_EQ(kernel_->next_hop(address("10.9.0.1"))->interface, "elsewhere");
  }
  ASSERT_TRUE(kernel_->remove_closed_routes());
  for (const char* destination : {"10.2.3.4", "fd00:2::5"}) {
    EXPECT_EQ(kernel_->next_hop(address(destination))->interface, "elsewhere");
  }
}

TEST_F(DeviceRoutesTest, OpenOnesHaveNoBlackhole) {
  set({prefix("10.2.0.0/16")});
  EXPECT_EQ(set({prefix("10.2.0.0/16")}, {.closed = false}).kept, 1U);
  EXPECT_TRUE(ours(RTN_BLACKHOLE).empty());
}

TEST_F(DeviceRoutesTest, CarryMtuAndSource) {
  const RouteOptions options{
      .mtu = Bytes{1400}, .source_ipv4 = address("10.1.0.1"), .source_ipv6 = address("fd00:1::1")};
  set({prefix("10.2.0.0/16"), prefix("fd00:2::/48")}, options);
  for (const char* destination : {"10.2.3.4", "fd00:2::5"}) {
    const auto hop = kernel_->next_hop(address(destination));
    ASSERT_TRUE(hop) << hop.error().text();
    EXPECT_EQ(hop->interface, "isthmus0");
    EXPECT_EQ(hop->mtu.value(), 1400U);
    EXPECT_EQ(hop->source, destination[0] == 'f' ? options.source_ipv6 : options.source_ipv4);
  }
  const RouteReport smaller =
      set({prefix("10.2.0.0/16"), prefix("fd00:2::/48")}, {.mtu = Bytes{1300}, .source_ipv4 = options.source_ipv4});
  EXPECT_EQ(smaller.changed, 2U);
  EXPECT_EQ(smaller.added + smaller.removed, 0U);
  EXPECT_EQ(kernel_->next_hop(address("10.2.3.4"))->mtu.value(), 1300U);
  EXPECT_EQ(table(Family::kIpv4).size(), 2U);  // the route and its blackhole
}

TEST_F(DeviceRoutesTest, ReplaceThoseOfAnEarlierProcess) {
  sh("ip link add elsewhere type veth peer name elsewhere-x && ip link set elsewhere up && ip link set elsewhere-x up");
  sh("ip route add 10.2.0.0/16 dev isthmus0 proto 21 && ip route add 10.9.0.0/16 dev isthmus0 scope link proto 21");
  sh("ip route add blackhole 10.8.0.0/16 proto 21 && ip -6 route add fd00:9::/48 dev isthmus0 proto 21 metric 5");
  sh("ip route add 10.3.0.0/16 via 169.254.73.1 dev elsewhere onlink proto 21 metric 16");
  const RouteReport report = set({prefix("10.2.0.0/16"), prefix("10.3.0.0/16")});
  EXPECT_EQ(report.added, 1U);
  EXPECT_EQ(report.changed, 1U);
  EXPECT_EQ(report.removed, 4U);
  EXPECT_EQ(ours(), (std::vector{prefix("10.2.0.0/16"), prefix("10.3.0.0/16")}));
  EXPECT_EQ(kernel_->next_hop(address("10.3.0.1"))->interface, "isthmus0");
}

TEST_F(DeviceRoutesTest, DoNotTouchRoutesOfOtherPrograms) {
  sh("ip link add elsewhere type veth peer name elsewhere-x && ip link set elsewhere up && ip link set elsewhere-x up");
  sh("ip route add 10.2.0.0/16 dev elsewhere proto static");          // preferred to ours
  sh("ip route add 10.3.0.0/16 dev elsewhere proto bird metric 16");  // has our metric
  sh("ip route add 10.4.0.0/16 dev elsewhere proto bgp metric 20");   // ours is preferred
  sh("ip route add 10.5.0.0/16 dev elsewhere proto 99");              // not one of our prefixes
  sh("ip -6 route add blackhole fd00:2::/48 proto static metric 8");
  const RouteReport report =
      set({prefix("10.2.0.0/16"), prefix("10.3.0.0/16"), prefix("10.4.0.0/16"), prefix("fd00:2::/48")});
  EXPECT_EQ(report.added, 3U);
  ASSERT_EQ(report.foreign.size(), 3U);
  EXPECT_EQ(report.foreign[0].prefix, prefix("10.2.0.0/16"));
  EXPECT_EQ(report.foreign[0].interface, "elsewhere");
  EXPECT_EQ(report.foreign[0].protocol, "static");
  EXPECT_EQ(report.foreign[1].prefix, prefix("10.3.0.0/16"));
  EXPECT_EQ(report.foreign[1].protocol, "bird");
  EXPECT_EQ(report.foreign[1].metric, 16U);
  EXPECT_EQ(report.foreign[2].prefix, prefix("fd00:2::/48"));
  EXPECT_NE(report.foreign[2].text().find("no interface (static, metric 8)"), std::string::npos);
  EXPECT_EQ(kernel_->next_hop(address("10.2.0.1"))->interface, "elsewhere");
  EXPECT_EQ(kernel_->next_hop(address("10.4.0.1"))->interface, "isthmus0");

  set({});
  EXPECT_TRUE(ours().empty());
  for (const char* destination : {"10.2.0.1", "10.3.0.1", "10.4.0.1", "10.5.0.1"}) {
    EXPECT_EQ(kernel_->next_hop(address(destination))->interface, "elsewhere") << destination;
  }
}

TEST_F(DeviceRoutesTest, AreAddedBeforeOthersAreRemoved) {
  set({prefix("10.2.0.0/16"), prefix("10.3.0.0/16")});
  constexpr std::array kGroups = {RTNLGRP_IPV4_ROUTE};
  auto events = NetlinkEvents::open(kGroups);
  ASSERT_TRUE(events) << events.error().text();
  set({prefix("10.2.0.0/17"), prefix("10.2.128.0/17"), prefix("10.4.0.0/16")});
  std::vector<std::uint16_t> order;
  EXPECT_TRUE(events->receive([&order](const nlmsghdr* message) { order.push_back(message->nlmsg_type); }));
  // Three routes and two, each with its blackhole.
  std::vector<std::uint16_t> expected(6, RTM_NEWROUTE);
  expected.insert(expected.end(), 4, RTM_DELROUTE);
  EXPECT_EQ(order, expected);
}

TEST_F(DeviceRoutesTest, TheFirstFailureIsReportedAndTheRestApplied) {
  const auto failed = kernel_->set_routes("isthmus0", std::vector{prefix("10.2.0.0/16"), prefix("fd00:2::/48")},
                                          {.source_ipv4 = address("192.0.2.77")});
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().what.find("10.2.0.0/16"), std::string::npos) << failed.error().text();
  EXPECT_EQ(failed.error().where, "isthmus0");
  EXPECT_NE(failed.error().fix.find("source address"), std::string::npos) << failed.error().text();
  EXPECT_EQ(ours(), std::vector{prefix("fd00:2::/48")});
  EXPECT_FALSE(kernel_->set_routes("missing", {}, {}));
}

TEST_F(DeviceRoutesTest, NeedOneNeighbourPerFamilyForAnyNumberOfDestinations) {
  set({prefix("10.2.0.0/16"), prefix("fd00:2::/48")},
      {.source_ipv4 = address("10.1.0.1"), .source_ipv6 = address("fd00:1::1")});
  const int v4 = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const int v6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  for (std::uint32_t i = 1; i <= 200; ++i) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(9);
    to.sin_addr.s_addr = htonl(0x0a020000 + i);
    ASSERT_EQ(sendto(v4, "x", 1, 0, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 1);
    sockaddr_in6 to6{};
    to6.sin6_family = AF_INET6;
    to6.sin6_port = htons(9);
    ASSERT_EQ(inet_pton(AF_INET6, "fd00:2::", &to6.sin6_addr), 1);
    to6.sin6_addr.s6_addr[15] = static_cast<std::uint8_t>(i);
    ASSERT_EQ(sendto(v6, "x", 1, 0, reinterpret_cast<const sockaddr*>(&to6), sizeof(to6)), 1);
  }
  close(v4);
  close(v6);
  sh("test $(ip neigh show dev isthmus0 nud all | grep -vc '^ff02') = 2");
}

}  // namespace
}  // namespace isthmus::test
