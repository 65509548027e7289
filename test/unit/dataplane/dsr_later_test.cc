// DSR, when its addresses become somebody's later: a tunnel end's, a next hop's, a service's of the fleet.
#include "test/unit/dataplane/dsr_rig.h"

namespace isthmus::test {
namespace {

class DsrLater : public Dsr {
 protected:
  void open(const Endpoint& client, const Endpoint& service) {
    expect_delivered(rig_.from_underlay(balanced(udp(client, backend_), service)), client, backend_);
    expect_answered(rig_.from_local(udp(backend_, client)), service, client);
  }
  void expect_no_answer(const Endpoint& client, const char* reason) {
    const Outcome outcome = rig_.from_local(udp(backend_, client));
    EXPECT_TRUE(outcome.out.empty()) << outcome.text();
    EXPECT_EQ(outcome.drops, (std::map<std::string, std::uint64_t>{{reason, 1}}));
  }
  void make_peer(const IpAddress& address, ClusterId cluster) {
    TableDelta delta;
    delta.upsert_peers = {{PeerId{12}, cluster, address, L4Port{6081}, AdjacencyId{1}, false,
                           EncapsulationKind::kGeneve, EncapsulationKind::kGeneve}};
    ASSERT_TRUE(rig_.engine().publish(delta).ok());
  }
};

TEST_F(DsrLater, ANameThatBecomesATunnelEnds) {
  for (const std::uint16_t cluster : {std::uint16_t{1}, std::uint16_t{3}}) {
    const Endpoint name = at(cluster == 1 ? "203.0.113.91" : "203.0.113.93", 443);
    const Endpoint client = at("10.5.0.9", static_cast<std::uint16_t>(5000 + cluster));
    open(client, name);
    make_peer(name.address, ClusterId{cluster});
    expect_no_answer(client, "dsr_option");
  }
}

TEST_F(DsrLater, ANameThatBecomesANextHop) {
  open(client_, vip_);
  const AdjacencyId hop = rig_.engine().adjacency(DeviceId{0}, vip_.address);
  rig_.engine().set_adjacency(hop, MacAddress{{2, 0, 0, 0, 0, 9}});
  expect_no_answer(client_, "dsr_option");
}

TEST_F(DsrLater, ANameThatBecomesAServiceOfTheFleets) {
  open(client_, vip_);
  rig_.set_backends(vip_, 30, {backend(30, rig_.at.west, 2)}, {0});
  expect_no_answer(client_, "dsr_option");
}

TEST_F(DsrLater, AClientWhoseAddressBecomesATunnelEnds) {
  open(client_, vip_);
  make_peer(client_.address, ClusterId{3});
  expect_no_answer(client_, "source_outside_cluster");
}

TEST_F(DsrLater, ABalancerWhoseClusterIsRemoved) {
  open(client_, vip_);
  TableDelta delta;
  delta.clusters = {{ClusterId{1}, true, true, {*Prefix::parse("10.1.0.0/16")}, {}}};
  ASSERT_TRUE(rig_.engine().publish(delta).ok());
  expect_no_answer(client_, "no_route");
}

}  // namespace
}  // namespace isthmus::test
