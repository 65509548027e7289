#include "control/kernel/kernel.h"

#include <algorithm>
#include <vector>

#include "test/unit/kernel/network_namespace.h"

namespace isthmus::test {
namespace {

bool readable(int fd) {
  pollfd waiting{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&waiting, 1, 0) == 1;
}

TEST_F(KernelTest, ReadsLinks) {
  sh("ip link add eth0 address 02:00:00:00:00:01 mtu 1400 type veth peer name eth0-x");
  auto link = kernel_->link("eth0");
  ASSERT_TRUE(link) << link.error().text();
  EXPECT_EQ(link->mtu.value(), 1400U);
  EXPECT_EQ(link->mac, MacAddress::parse("02:00:00:00:00:01"));
  EXPECT_EQ(link->kind, "veth");
  EXPECT_FALSE(link->up);
  sh("ip link set eth0 up");
  EXPECT_TRUE(kernel_->link("eth0")->up);
  EXPECT_FALSE(kernel_->link("eth0")->running);  // its peer is down
  const auto missing = kernel_->link("eth9");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().where, "eth9");
  EXPECT_FALSE(missing.error().fix.empty());
  EXPECT_FALSE(kernel_->link("a-name-beyond-every-limit"));
}

TEST_F(KernelTest, ReportsNothingWhenNothingChanges) {
  EXPECT_FALSE(readable(kernel_->fd()));
  EXPECT_TRUE(kernel_->poll().empty());
}

TEST_F(KernelTest, ReportsLinksThatAreAddedChangedAndRemoved) {
  const auto wait_for = [this](const std::function<bool(const LinkState&)>& matches) {
    return poll_until([&matches](const KernelEvents& events) {
      return std::any_of(events.links.begin(), events.links.end(),
                         [&](const LinkState& link) { return link.interface == "eth0" && matches(link); });
    });
  };
  sh("ip link add eth0 type veth peer name eth0-x && ip link set eth0-x up");
  EXPECT_TRUE(wait_for([](const LinkState& link) { return !link.up && !link.removed; }));
  sh("ip link set eth0 up");
  EXPECT_TRUE(wait_for([](const LinkState& link) { return link.up && link.running; }));
  sh("ip link set eth0 mtu 1300");
  EXPECT_TRUE(wait_for([](const LinkState& link) { return link.mtu.value() == 1300; }));
  sh("ip link set eth0-x down");
  EXPECT_TRUE(wait_for([](const LinkState& link) { return link.up && !link.running; }));
  sh("ip link del eth0");
  EXPECT_TRUE(wait_for([](const LinkState& link) { return link.removed; }));
}

TEST_F(KernelTest, ReportsWhenNextHopsMayHaveChanged) {
  sh("ip link add eth0 type veth peer name eth0-x && ip link set eth0 up && ip link set eth0-x up");
  ASSERT_TRUE(kernel_->make_local_device({}));
  for (const char* change : {"ip addr add 192.0.2.1/24 dev eth0", "ip route add 10.9.0.0/16 via 192.0.2.9",
                             "ip route change 10.9.0.0/16 via 192.0.2.10", "ip route del 10.9.0.0/16",
                             "ip rule add to 10.8.0.0/16 table 7", "ip -6 addr add 2001:db8::1/64 dev eth0 nodad",
                             "ip -6 route add fd09::/48 via 2001:db8::9", "ip link set eth0 down"}) {
    settle();
    sh(change);
    EXPECT_TRUE(poll_until([](const KernelEvents& events) { return events.routes_changed; })) << change;
  }
}

TEST_F(KernelTest, OurOwnRoutesAreNotReported) {
  ASSERT_TRUE(kernel_->make_local_device({}));
  settle();
  ASSERT_TRUE(kernel_->set_routes("isthmus0", std::vector{prefix("10.2.0.0/16"), prefix("fd00:2::/48")}, {}));
  EXPECT_FALSE(kernel_->poll().routes_changed);
  ASSERT_TRUE(kernel_->set_routes("isthmus0", {}, {}));
  EXPECT_FALSE(kernel_->poll().routes_changed);
}

TEST_F(KernelTest, RoutesOfOursThatSomebodyElseRemovesAreReported) {
  ASSERT_TRUE(kernel_->make_local_device({}));
  ASSERT_TRUE(kernel_->set_routes("isthmus0", std::vector{prefix("10.2.0.0/16"), prefix("fd00:2::/48")}, {}));
  for (const char* flush : {"ip route flush proto 21", "ip -6 route flush proto 21"}) {
    settle();
    sh(flush);
    EXPECT_TRUE(poll_until([](const KernelEvents& events) { return events.routes_changed; })) << flush;
  }
}

TEST_F(KernelTest, AnswersFromTheCurrentStateAndStillReportsTheChanges) {
  settle();
  sh("ip link add eth0 type veth peer name eth0-x && ip link set eth0 up && ip link set eth0-x up");
  sh("ip addr add 192.0.2.1/24 dev eth0");
  const auto hop = kernel_->next_hop(address("192.0.2.7"));
  ASSERT_TRUE(hop) << hop.error().text();
  EXPECT_EQ(hop->interface, "eth0");
  EXPECT_TRUE(readable(kernel_->fd()));
  const KernelEvents events = kernel_->poll();
  EXPECT_TRUE(events.routes_changed);
  EXPECT_TRUE(std::any_of(events.links.begin(), events.links.end(),
                          [](const LinkState& link) { return link.interface == "eth0"; }));
}

TEST_F(KernelTest, ReloadsEverythingAfterLostNotifications) {
  sh("ip link add eth0 type veth peer name eth0-x && ip link set eth0 up && ip link set eth0-x up");
  sh("ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 nud permanent dev eth0");
  kernel_->watch_neighbour("eth0", address("192.0.2.9"));
  settle();
  // More notifications than the socket buffers, while nobody reads.
  sh("for i in $(seq 12000); do echo route add 10.$((i / 250)).$((i % 250)).0/24 dev eth0; done | ip -batch -");
  sh("for i in $(seq 12000); do echo route del 10.$((i / 250)).$((i % 250)).0/24 dev eth0; done | ip -batch -");
  sh("ip neigh replace 192.0.2.9 lladdr 02:00:00:00:00:10 nud permanent dev eth0 && ip link set eth0-x down");
  std::optional<MacAddress> mac;
  bool running = true;
  EXPECT_TRUE(poll_until([&](const KernelEvents& events) {
    for (const NeighbourChange& change : events.neighbours) {
      mac = change.mac;
    }
    for (const LinkState& link : events.links) {
      running = link.interface == "eth0" ? link.running : running;
    }
    return events.lost;
  })) << "the test no longer overruns the socket";
  EXPECT_EQ(mac, MacAddress::parse("02:00:00:00:00:10"));
  EXPECT_FALSE(running);
}

}  // namespace
}  // namespace isthmus::test
