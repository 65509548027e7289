#include "control/kernel/node_addresses.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "test/unit/kernel/network_namespace.h"

namespace isthmus::test {
namespace {

class NodeAddressesTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (kernel_) {
      sh("ip link add eth0 type veth peer name eth0-x && ip link set eth0 up && ip link set eth0-x up");
      sh("ip addr add 192.0.2.1/24 dev eth0 && ip -6 addr add 2001:db8::1/64 dev eth0 nodad");
    }
  }
  // "address interface", and "router" behind those that are.
  std::vector<std::string> listed() {
    const auto addresses = kernel_->node_addresses();
    EXPECT_TRUE(addresses) << addresses.error().text();
    std::vector<std::string> lines;
    for (const NodeAddress& address : addresses ? *addresses : std::vector<NodeAddress>{}) {
      lines.push_back(address.address.to_string() + " " + address.interface + (address.router ? " router" : ""));
    }
    return lines;
  }
};

using testing::Contains;
using testing::Not;

TEST_F(NodeAddressesTest, AreThoseOfInterfacesAndTheRoutersOfRoutes) {
  sh("ip route add default via 192.0.2.254 && ip -6 route add 2001:db8:1::/48 via 2001:db8::fe");
  sh("ip addr add 10.9.0.1 peer 10.9.0.2/32 dev eth0");
  const std::vector<std::string> lines = listed();
  for (const char* line :
       {"192.0.2.1 eth0", "2001:db8::1 eth0", "10.9.0.1 eth0", "192.0.2.254 eth0 router", "2001:db8::fe eth0 router"}) {
    EXPECT_THAT(lines, Contains(line));
  }
  EXPECT_THAT(lines, Not(Contains("10.9.0.2 eth0")));
}

TEST_F(NodeAddressesTest, HaveTheRoutersOfEveryTableAndOfMultipathRoutes) {
  sh("ip route add 10.7.0.0/16 via 192.0.2.20 table 77 && ip -6 route add 2001:db8:7::/48 via 2001:db8::20 table 77");
  sh("ip route add 10.8.0.0/16 nexthop via 192.0.2.21 dev eth0 nexthop via 192.0.2.22 dev eth0");
  sh("ip route add 10.9.0.0/16 via inet6 2001:db8::23 dev eth0");
  sh("ip route add 10.10.0.0/16 via 192.0.2.24 proto 21");
  const std::vector<std::string> lines = listed();
  for (const char* line : {"192.0.2.20 eth0 router", "2001:db8::20 eth0 router", "192.0.2.21 eth0 router",
                           "192.0.2.22 eth0 router", "2001:db8::23 eth0 router"}) {
    EXPECT_THAT(lines, Contains(line));
  }
  EXPECT_THAT(lines, Not(Contains("192.0.2.24 eth0 router"))) << "one of our own routes";
}

TEST_F(NodeAddressesTest, HaveTheNetworksThatTheNodeIsConnectedTo) {
  sh("ip addr add 10.9.0.1 peer 10.9.0.2/32 dev eth0 && ip addr add 10.8.0.1/32 dev eth0");
  std::vector<std::string> networks;
  const auto addresses = kernel_->node_addresses();
  ASSERT_TRUE(addresses);
  for (const NodeAddress& address : *addresses) {
    networks.push_back(Prefix(address.address, address.length).to_string());
  }
  for (const char* network : {"192.0.2.0/24", "2001:db8::/64", "10.9.0.1/32", "10.8.0.1/32"}) {
    EXPECT_THAT(networks, Contains(network));
  }
}

TEST_F(NodeAddressesTest, FollowTheKernel) {
  EXPECT_THAT(listed(), Not(Contains("192.0.2.9 eth0")));
  sh("ip addr add 192.0.2.9/24 dev eth0");
  EXPECT_THAT(listed(), Contains("192.0.2.9 eth0"));
  sh("ip addr del 192.0.2.9/24 dev eth0");
  EXPECT_THAT(listed(), Not(Contains("192.0.2.9 eth0")));
}

}  // namespace
}  // namespace isthmus::test
