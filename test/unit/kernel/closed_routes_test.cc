#include "control/kernel/closed_routes.h"

#include <vector>

#include "test/unit/kernel/network_namespace.h"

namespace isthmus::test {
namespace {

// A node that forwards between "in" and its default route by "out".
class ClosedRoutesTest : public KernelTest {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (kernel_) {
      for (const char* name : {"in", "out"}) {
        const std::string link = name;
        sh("ip link add " + link + " type veth peer name " + link + "-x && ip link set " + link +
           " up && ip link set " + link + "-x up");
      }
      sh("ip addr add 10.1.0.1/16 dev in && ip -6 addr add fd00:1::1/48 dev in nodad");
      sh("ip route add default dev out && ip -6 route add default dev out");
      sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0");
    }
  }
  // Whether the kernel would forward a packet from `source` that arrives on `interface`.
  static bool forwards(const std::string& source, const std::string& destination, const std::string& interface = "in") {
    return std::system(("ip route get " + destination + " from " + source + " iif " + interface + " > /dev/null 2>&1")
                           .c_str()) == 0;
  }
  void close(const std::vector<Prefix>& sources, const std::vector<Prefix>& destinations) {
    const std::vector<std::string> interfaces = {"in"};
    const Status closed = kernel_->set_closed_routes(interfaces, sources, destinations);
    ASSERT_TRUE(closed) << closed.error().text();
  }
};

TEST_F(ClosedRoutesTest, OwnSourcesDoNotReachTheFleetByTheKernelAlone) {
  ASSERT_TRUE(forwards("10.1.0.5", "10.2.0.1"));
  ASSERT_TRUE(forwards("fd00:1::5", "fd00:2::1"));
  const std::vector own = {prefix("10.1.0.0/16"), prefix("fd00:1::/48")};
  const std::vector fleet = {prefix("10.2.0.0/16"), prefix("10.200.0.10/32"), prefix("fd00:2::/48")};
  close(own, fleet);
  close(own, fleet);  // again: nothing to do
  EXPECT_FALSE(forwards("10.1.0.5", "10.2.0.1"));
  EXPECT_FALSE(forwards("10.1.0.5", "10.200.0.10"));
  EXPECT_FALSE(forwards("fd00:1::5", "fd00:2::1"));
  EXPECT_TRUE(forwards("10.1.0.5", "10.200.0.11"));
  EXPECT_TRUE(forwards("10.1.0.5", "192.0.2.1"));
  EXPECT_TRUE(forwards("192.0.2.7", "10.2.0.1"));        // not of this cluster: the node stays a node
  EXPECT_TRUE(forwards("10.1.0.5", "10.2.0.1", "out"));  // another interface
  EXPECT_TRUE(kernel_->next_hop(address("10.2.0.1")));   // the node's own packets, and the routes to peers
  EXPECT_TRUE(kernel_->next_hop(address("fd00:2::1")));
}

TEST_F(ClosedRoutesTest, AreReconciledWithWhatIsClosed) {
  close({prefix("10.1.0.0/16")}, {prefix("10.2.0.0/16")});
  close({prefix("10.1.0.0/17"), prefix("fd00:1::/48")}, {prefix("10.3.0.0/16"), prefix("fd00:2::/48")});
  EXPECT_TRUE(forwards("10.1.0.5", "10.2.0.1"));
  EXPECT_FALSE(forwards("10.1.0.5", "10.3.0.1"));
  EXPECT_TRUE(forwards("10.1.200.5", "10.3.0.1"));
  EXPECT_FALSE(forwards("fd00:1::5", "fd00:2::1"));
  ASSERT_TRUE(kernel_->remove_closed_routes());
  EXPECT_TRUE(forwards("10.1.0.5", "10.3.0.1"));
  EXPECT_TRUE(forwards("fd00:1::5", "fd00:2::1"));
  sh("test -z \"$(ip route show table 21073; ip -6 route show table 21073; ip rule | grep 21073)\"");
}

TEST_F(ClosedRoutesTest, AreChangedWithoutALookAtTheOthers) {
  const std::vector<std::string> interfaces = {"in"};
  const std::vector own = {prefix("10.1.0.0/16")};
  close(own, {prefix("10.2.0.0/16"), prefix("10.4.0.0/16")});
  const std::vector added = {prefix("10.3.0.0/16"), prefix("10.4.0.0/16"), prefix("fd00:2::/48")};
  const std::vector removed = {prefix("10.2.0.0/16"), prefix("10.5.0.0/16")};
  ASSERT_TRUE(kernel_->change_closed_routes(interfaces, own, added, removed));
  EXPECT_TRUE(forwards("10.1.0.5", "10.2.0.1"));
  EXPECT_FALSE(forwards("10.1.0.5", "10.3.0.1"));
  EXPECT_FALSE(forwards("10.1.0.5", "10.4.0.1"));
  EXPECT_TRUE(forwards("fd00:1::5", "fd00:2::1")) << "no source of that family is closed";
  sh("test -z \"$(ip -6 route show table 21073)\"");
  ASSERT_TRUE(kernel_->change_closed_routes({}, own, removed, {}));
  EXPECT_TRUE(forwards("10.1.0.5", "10.2.0.1")) << "no interface is closed";
}

TEST_F(ClosedRoutesTest, StayClosedWhenTheInterfaceIsMadeAnew) {
  close({prefix("10.1.0.0/16")}, {prefix("10.2.0.0/16")});
  sh("ip link del in");
  sh("ip link add in type veth peer name in-x && ip link set in up && ip link set in-x up");
  sh("ip addr add 10.1.0.1/16 dev in");
  EXPECT_FALSE(forwards("10.1.0.5", "10.2.0.1"));
  EXPECT_TRUE(forwards("10.1.0.5", "192.0.2.1"));
}

}  // namespace
}  // namespace isthmus::test
