#include "control/kernel/neighbour_watch.h"

#include <linux/neighbour.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <vector>

#include "test/unit/kernel/network_namespace.h"

namespace isthmus::test {
namespace {

// The node, and one neighbour in a namespace of its own, on one link.
class NeighbourWatchTest : public KernelTest {
 protected:
  static constexpr const char* kMac = "02:00:00:00:00:07";

  void SetUp() override {
    KernelTest::SetUp();
    if (kernel_) {
      other_ = std::make_unique<NetworkNamespace>();
      connect();
    }
  }
  void connect() {
    sh("ip link add eth0 type veth peer name eth0 netns " + other_->path());
    sh("ip addr add 192.0.2.1/24 dev eth0 && ip -6 addr add 2001:db8::1/64 dev eth0 nodad && ip link set eth0 up");
    other_->in([] {
      sh(std::string("ip link set eth0 address ") + kMac + " && ip link set eth0 up");
      sh("ip addr add 192.0.2.7/24 dev eth0 && ip -6 addr add 2001:db8::7/64 dev eth0 nodad");
    });
  }
  // Waits until the last report about `of` is `mac`.
  bool reported(const IpAddress& of, std::optional<MacAddress> mac) {
    return poll_until([&](const KernelEvents& events) {
      for (const NeighbourChange& change : events.neighbours) {
        if (change.interface == "eth0" && change.address == of) {
          last_[of] = change.mac;
        }
      }
      return last_.contains(of) && last_[of] == mac;
    });
  }

  std::unique_ptr<NetworkNamespace> other_;
  std::map<IpAddress, std::optional<MacAddress>> last_;
};

TEST_F(NeighbourWatchTest, IsResolvedWithoutAnyTraffic) {
  for (const char* of : {"192.0.2.7", "2001:db8::7"}) {
    kernel_->watch_neighbour("eth0", address(of));
    EXPECT_TRUE(reported(address(of), MacAddress::parse(kMac))) << of;
    EXPECT_EQ(kernel_->neighbour("eth0", address(of)), MacAddress::parse(kMac));
  }
}

TEST_F(NeighbourWatchTest, ReportsTheInitialStateEvenIfNothingChanges) {
  sh(std::string("ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 nud permanent dev eth0"));
  kernel_->watch_neighbour("eth0", address("192.0.2.9"));
  EXPECT_TRUE(reported(address("192.0.2.9"), MacAddress::parse("02:00:00:00:00:09")));
  // Nobody has this address: unresolved is reported too.
  kernel_->watch_neighbour("eth0", address("192.0.2.66"));
  EXPECT_TRUE(reported(address("192.0.2.66"), std::nullopt));
  EXPECT_EQ(kernel_->neighbour("eth0", address("192.0.2.66")), std::nullopt);
}

TEST_F(NeighbourWatchTest, FollowsAMacThatChanges) {
  kernel_->watch_neighbour("eth0", address("192.0.2.7"));
  ASSERT_TRUE(reported(address("192.0.2.7"), MacAddress::parse(kMac)));
  sh("ip neigh replace 192.0.2.7 lladdr 02:00:00:00:00:08 nud reachable dev eth0");
  EXPECT_TRUE(reported(address("192.0.2.7"), MacAddress::parse("02:00:00:00:00:08")));
}

TEST_F(NeighbourWatchTest, IsRetriedUntilItAnswers) {
  other_->in([] { sh("ip link set eth0 arp off"); });
  kernel_->watch_neighbour("eth0", address("192.0.2.7"));
  ASSERT_TRUE(reported(address("192.0.2.7"), std::nullopt));
  // The kernel gives up on it ...
  sh("for i in $(seq 300); do ip neigh show 192.0.2.7 dev eth0 | grep -q FAILED && exit 0; sleep 0.1; done; exit 1");
  // ... and finds it once it is there.
  other_->in([] { sh("ip link set eth0 arp on"); });
  EXPECT_TRUE(reported(address("192.0.2.7"), MacAddress::parse(kMac)));
}

TEST_F(NeighbourWatchTest, StaysFreshWhileWatched) {
  // Reachable for at least 1.5 s: longer than the 1 s after its use within which the kernel would probe by itself.
  sh("sysctl -qw net.ipv4.neigh.eth0.base_reachable_time_ms=3000 net.ipv4.neigh.eth0.delay_first_probe_time=1");
  constexpr std::array kGroups = {RTNLGRP_NEIGH};
  auto events = NetlinkEvents::open(kGroups);
  ASSERT_TRUE(events);
  kernel_->watch_neighbour("eth0", address("192.0.2.7"));
  // Its states as the kernel reports them: it must go stale and become reachable again, without a packet of ours.
  std::vector<std::uint16_t> states;
  EXPECT_TRUE(poll_until([&](const KernelEvents&) {
    static_cast<void>(events->receive([&states](const nlmsghdr* message) {
      const auto* neighbour = static_cast<const ndmsg*>(mnl_nlmsg_get_payload(message));
      if (neighbour->ndm_family == AF_INET) {
        states.push_back(neighbour->ndm_state);
      }
    }));
    const auto stale = std::find(states.begin(), states.end(), NUD_STALE);
    return std::find(stale, states.end(), NUD_REACHABLE) != states.end();
  }));
  EXPECT_EQ(kernel_->neighbour("eth0", address("192.0.2.7")), MacAddress::parse(kMac));
}

TEST_F(NeighbourWatchTest, BecomesUnresolvedWhenItStopsAnsweringAndRecovers) {
  sh("sysctl -qw net.ipv4.neigh.eth0.base_reachable_time_ms=3000 net.ipv4.neigh.eth0.delay_first_probe_time=1");
  kernel_->watch_neighbour("eth0", address("192.0.2.7"));
  ASSERT_TRUE(reported(address("192.0.2.7"), MacAddress::parse(kMac)));
  other_->in([] { sh("ip addr del 192.0.2.7/24 dev eth0"); });
  EXPECT_TRUE(reported(address("192.0.2.7"), std::nullopt));
  other_->in([] { sh("ip addr add 192.0.2.7/24 dev eth0"); });
  EXPECT_TRUE(reported(address("192.0.2.7"), MacAddress::parse(kMac)));
}

TEST_F(NeighbourWatchTest, SurvivesRemovalOfItsInterface) {
  kernel_->watch_neighbour("eth0", address("192.0.2.7"));
  ASSERT_TRUE(reported(address("192.0.2.7"), MacAddress::parse(kMac)));
  sh("ip link del eth0");
  EXPECT_TRUE(reported(address("192.0.2.7"), std::nullopt));
  connect();
  EXPECT_TRUE(reported(address("192.0.2.7"), MacAddress::parse(kMac)));
}

TEST_F(NeighbourWatchTest, CanBeWatchedBeforeItsInterfaceExists) {
  kernel_->watch_neighbour("eth7", address("192.0.9.7"));
  settle();
  sh("ip link add eth7 type veth peer name eth7 netns " + other_->path());
  sh("ip addr add 192.0.9.1/24 dev eth7 && ip link set eth7 up");
  other_->in([] { sh("ip addr add 192.0.9.7/24 dev eth7 && ip link set eth7 up"); });
  EXPECT_TRUE(
      poll_until([this](const KernelEvents&) { return kernel_->neighbour("eth7", address("192.0.9.7")).has_value(); }));
}

TEST_F(NeighbourWatchTest, IsForgottenWhenUnwatched) {
  kernel_->watch_neighbour("eth0", address("192.0.2.7"));
  kernel_->unwatch_neighbour("eth0", address("192.0.2.7"));
  kernel_->unwatch_neighbour("eth0", address("192.0.2.8"));
  EXPECT_EQ(kernel_->neighbour("eth0", address("192.0.2.7")), std::nullopt);
  EXPECT_TRUE(kernel_->poll().neighbours.empty());
  sh("ip neigh replace 192.0.2.7 lladdr 02:00:00:00:00:08 nud reachable dev eth0");
  EXPECT_TRUE(kernel_->poll().neighbours.empty());
}

}  // namespace
}  // namespace isthmus::test
