#include "control/kernel/next_hops.h"

#include <algorithm>
#include <vector>

#include "test/unit/kernel/network_namespace.h"

namespace isthmus::test {
namespace {

class NextHopsTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (kernel_) {
      sh("ip link add eth0 type veth peer name eth0-x && ip link set eth0 up mtu 1400 && ip link set eth0-x up");
      sh("ip addr add 192.0.2.1/24 dev eth0 && ip -6 addr add 2001:db8::1/64 dev eth0 nodad");
      sh("ip route add 198.51.100.0/24 via 192.0.2.254 && ip -6 route add 2001:db8:1::/48 via 2001:db8::fe");
    }
  }
};

TEST_F(NextHopsTest, AreOnLinkOrAGateway) {
  for (const bool ipv6 : {false, true}) {
    const IpAddress neighbour = address(ipv6 ? "2001:db8::7" : "192.0.2.7");
    auto hop = kernel_->next_hop(neighbour);
    ASSERT_TRUE(hop) << hop.error().text();
    EXPECT_EQ(hop->interface, "eth0");
    EXPECT_TRUE(hop->on_link);
    EXPECT_EQ(hop->address, neighbour);
    EXPECT_FALSE(hop->is_local);
    EXPECT_EQ(hop->mtu.value(), 1400U);
    EXPECT_EQ(hop->source, address(ipv6 ? "2001:db8::1" : "192.0.2.1"));

    hop = kernel_->next_hop(address(ipv6 ? "2001:db8:1::9" : "198.51.100.9"));
    ASSERT_TRUE(hop) << hop.error().text();
    EXPECT_FALSE(hop->on_link);
    EXPECT_EQ(hop->address, address(ipv6 ? "2001:db8::fe" : "192.0.2.254"));

    hop = kernel_->next_hop(address(ipv6 ? "2001:db8::1" : "192.0.2.1"));
    ASSERT_TRUE(hop) << hop.error().text();
    EXPECT_TRUE(hop->is_local);
  }
}

TEST_F(NextHopsTest, ReportTheRoutesMtuAndGatewaysOfTheOtherFamily) {
  sh("ip route add 203.0.113.0/24 via inet6 2001:db8::fe dev eth0 mtu 1300");
  const auto hop = kernel_->next_hop(address("203.0.113.1"));
  ASSERT_TRUE(hop) << hop.error().text();
  EXPECT_EQ(hop->address, address("2001:db8::fe"));
  EXPECT_FALSE(hop->on_link);
  EXPECT_EQ(hop->mtu.value(), 1300U);
}

TEST_F(NextHopsTest, AreAnErrorWithAFixIfThereIsNoRoute) {
  sh("ip route add unreachable 203.0.113.0/24 && ip route add blackhole 203.0.114.0/24");
  sh("ip -6 route add unreachable 2001:db8:9::/48");
  for (const char* to : {"10.99.0.1", "fd99::1", "203.0.113.1", "203.0.114.1", "2001:db8:9::1", "224.0.0.5"}) {
    const auto hop = kernel_->next_hop(address(to));
    ASSERT_FALSE(hop) << to;
    EXPECT_EQ(hop.error().where, to);
    EXPECT_NE(hop.error().fix.find("ip route get"), std::string::npos);
  }
}

TEST_F(NextHopsTest, OfThisClusterComeFromTheMainTable) {
  sh("ip link add pod1 type veth peer name pod1-x && ip link set pod1 up && ip link set pod1-x up");
  sh("ip route add 10.1.5.0/24 via 192.0.2.5 && ip route add 10.1.6.7/32 dev pod1 && ip route add default via "
     "192.0.2.254");
  sh("ip route add 10.1.7.0/24 nexthop via 192.0.2.6 dev eth0 nexthop via 192.0.2.7 dev eth0");
  sh("ip route add blackhole 10.1.8.0/24 && ip route add 10.1.9.0/24 dev eth0 proto 21");
  sh("ip route add 10.50.0.0/16 via 192.0.2.5 && ip route add 10.1.10.0/24 via 192.0.2.9 table 77");
  sh("ip -6 route add fd00:1:0:5::/64 via 2001:db8::5");
  const auto routes = kernel_->local_routes(std::vector{prefix("10.1.0.0/16"), prefix("fd00:1::/48")});
  ASSERT_TRUE(routes) << routes.error().text();
  const std::vector<KernelRoute> expected = {
      {prefix("10.1.0.0/16"), "eth0", address("192.0.2.254")},
      {prefix("10.1.5.0/24"), "eth0", address("192.0.2.5")},
      {prefix("10.1.6.7/32"), "pod1", std::nullopt},
      {prefix("10.1.7.0/24"), "eth0", address("192.0.2.6")},
      {prefix("fd00:1:0:5::/64"), "eth0", address("2001:db8::5")},
  };
  std::vector<KernelRoute> sorted = *routes;
  std::sort(sorted.begin(), sorted.end(),
            [](const KernelRoute& a, const KernelRoute& b) { return a.prefix.to_string() < b.prefix.to_string(); });
  EXPECT_EQ(sorted, expected);
}

TEST_F(NextHopsTest, OfAMultipathRouteIsOneThatIsAlive) {
  sh("ip link add eth1 type veth peer name eth1-x && ip link set eth1 up && ip link set eth1-x up");
  sh("ip addr add 192.0.3.1/24 dev eth1");
  sh("ip route add 10.1.7.0/24 nexthop via 192.0.3.6 dev eth1 nexthop via 192.0.2.7 dev eth0");
  EXPECT_EQ((*kernel_->local_routes(std::vector{prefix("10.1.0.0/16")})).at(0).interface, "eth1");
  sh("ip link set eth1-x down");
  ASSERT_TRUE(poll_until([this](const KernelEvents&) {
    const auto routes = kernel_->local_routes(std::vector{prefix("10.1.0.0/16")});
    return routes && routes->size() == 1 && routes->at(0).interface == "eth0";
  }));
}

RouteEntry route(const char* text, int interface, std::uint32_t metric = 0) {
  RouteEntry entry;
  entry.prefix = prefix(text);
  entry.table = RT_TABLE_MAIN;
  entry.type = RTN_UNICAST;
  entry.interface_index = interface;
  entry.metric = metric;
  return entry;
}

TEST(ChooseLocalRoutes, TheLongestCoveringRouteThenTheLowestMetricWins) {
  const std::vector routes = {route("0.0.0.0/0", 1),       route("10.0.0.0/8", 2),       route("10.1.0.0/16", 3, 100),
                              route("10.1.0.0/16", 4, 50), route("10.1.0.0/16", 5, 200), route("::/0", 6),
                              route("10.1.2.0/24", 7)};
  const std::vector prefixes = {prefix("10.1.0.0/16"), prefix("10.2.0.0/16"), prefix("172.16.0.0/12")};
  const auto chosen = choose_local_routes(routes, prefixes);
  ASSERT_EQ(chosen.size(), 4U);
  EXPECT_EQ(chosen[0].prefix, prefix("10.1.0.0/16"));
  EXPECT_EQ(chosen[0].interface_index, 4);
  EXPECT_EQ(chosen[1].prefix, prefix("10.1.2.0/24"));
  EXPECT_EQ(chosen[1].interface_index, 7);
  EXPECT_EQ(chosen[2].prefix, prefix("10.2.0.0/16"));
  EXPECT_EQ(chosen[2].interface_index, 2);
  EXPECT_EQ(chosen[3].prefix, prefix("172.16.0.0/12"));
  EXPECT_EQ(chosen[3].interface_index, 1);
}

TEST(ChooseLocalRoutes, NestedPrefixesDoNotHideARouteBetweenThem) {
  const std::vector routes = {route("10.1.0.0/16", 1), route("10.1.4.0/22", 2)};
  const auto chosen = choose_local_routes(routes, std::vector{prefix("10.1.0.0/16"), prefix("10.1.5.0/24")});
  ASSERT_EQ(chosen.size(), 3U);
  EXPECT_EQ(chosen[1].prefix, prefix("10.1.4.0/22"));
  EXPECT_EQ(chosen[2].prefix, prefix("10.1.5.0/24"));
  EXPECT_EQ(chosen[2].interface_index, 2);
}

}  // namespace
}  // namespace isthmus::test
