// Turns the keys of a real etcd into objects.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zstd.h>

#include "endpoint_slice.pb.h"
#include "test/unit/source/etcd/etcd_rig.h"

namespace isthmus {
namespace {

using testing::ElementsAre;

class EtcdSourceTest : public testing::Test {
 protected:
  void SetUp() override { ISTHMUS_NEEDS_ETCD(); }
  void follow_west() {
    hub::publish(server);
    rig.follow("west", server);
    rig.start();
    ASSERT_TRUE(rig.until([&] { return rig.source->synced() && rig.is(HubState::Sync::kSynced); }))
        << rig.problem_text() << rig.state().last_error;
  }
  EtcdServer server;
  EtcdRig rig;
};

TEST_F(EtcdSourceTest, AClustersKeysBecomeObjects) {
  follow_west();
  ASSERT_NE(rig.cluster(), nullptr);
  EXPECT_EQ(rig.cluster()->id, ClusterId{5});
  EXPECT_THAT(rig.cluster()->pod_prefixes, ElementsAre(*Prefix::parse("10.51.7.0/24")));
  EXPECT_THAT(rig.cluster()->node_prefixes, testing::IsEmpty()) << "nodes belong to the underlay";
  ASSERT_NE(rig.node("w-7"), nullptr);
  ASSERT_NE(rig.address("10.51.7.40"), nullptr);
  EXPECT_EQ(rig.address("10.51.7.40")->identity, Identity{331906});
  EXPECT_EQ(rig.address("10.51.7.40")->node, IpAddress::parse("192.0.2.17"));
  const auto* identity = rig.find<IdentityObject>(ObjectKind::kIdentity, "west", "331906");
  ASSERT_NE(identity, nullptr);
  EXPECT_EQ(identity->labels.at("k8s:app"), "cart");
  const auto* service = rig.find<ServiceObject>(ObjectKind::kService, "west", "cart", "shop");
  ASSERT_NE(service, nullptr);
  EXPECT_TRUE(service->global && service->shared);
  EXPECT_THAT(service->ports, ElementsAre(ServicePort{"http", IpProtocol::kTcp, L4Port{80}}));
  const auto* slice = rig.find<SliceObject>(ObjectKind::kSlice, "west", "cart", "shop");
  ASSERT_NE(slice, nullptr);
  EXPECT_EQ(slice->service, "cart");
  EXPECT_THAT(slice->ports, ElementsAre(ServicePort{"http", IpProtocol::kTcp, L4Port{8080}}));
  EXPECT_THAT(rig.members(), ElementsAre("east", "west"));
  const HubState state = rig.state();
  EXPECT_EQ(state.objects, 4U);
  EXPECT_EQ(state.server, server.url());
  EXPECT_EQ(state.connects, 1U);
  EXPECT_EQ(state.last_error, "");
  EXPECT_TRUE(state.last_event.has_value());
  EXPECT_EQ(rig.problem_text(), "");
}

TEST_F(EtcdSourceTest, NodesAreReachedInTheTunnelThatTheConfigurationNames) {
  rig.options.encapsulation = EncapsulationKind::kGeneve;
  follow_west();
  ASSERT_NE(rig.cluster(), nullptr);
  EXPECT_EQ(rig.cluster()->encapsulation, EncapsulationKind::kGeneve);
}

// Invalid values, read from a real server: the former value stays in force.
struct RejectionRow {
  const char* what;
  const char* key;
  std::string value;
  const char* why;  // part of the problem's text
};

TEST_F(EtcdSourceTest, ValuesThatContradictTheirKeyOrClusterAreRejected) {
  follow_west();
  const auto before = rig.objects;
  const std::vector<RejectionRow> rows = {
      {"a node of another name", "cilium/state/nodes/v1/west/w-7", R"({"Name":"w-8","Cluster":"west","ClusterID":5})",
       "Name \"w-8\" does not match the key"},
      {"an identity of another cluster", "cilium/state/ip/v1/default/10.51.7.40", hub::ip("10.51.7.40", 131077),
       "identity 131077 does not belong to this cluster"},
      {"a prefix under an address", "cilium/state/ip/v1/default/10.51.64.0",
       R"({"IP":"10.51.64.0","Mask":"///AAA==","HostIP":"","ID":2,"Key":0,"Metadata":""})",
       "the address is 10.51.64.0/18"},
      {"labels of another cluster", "cilium/state/identities/v1/id/327681", hub::labels("a", "east"),
       "k8s:io.cilium.k8s.policy.cluster is \"east\""},
      {"a service that is not JSON", "cilium/state/services/v1/west/shop/cart", "{", "it is not JSON"},
  };
  for (const RejectionRow& row : rows) {
    server.put(row.key, row.value);
    EXPECT_TRUE(rig.until([&] { return rig.reports(row.why) && rig.reports(row.key); })) << row.what << "\n"
                                                                                         << rig.problem_text();
  }
  EXPECT_EQ(rig.objects, before);
  const HubState state = rig.state();
  EXPECT_EQ(state.rejected, rows.size());
  EXPECT_THAT(state.invalid_keys, testing::UnorderedElementsAre("nodes/w-7", "ip/10.51.7.40", "ip/10.51.64.0",
                                                                "identities/327681", "services/shop/cart"));
  // A valid value, or deletion of the key, clears the problem.
  server.put("cilium/state/nodes/v1/west/w-7", hub::node("w-7", "192.0.2.17", "10.51.7.0/24"));
  server.put("cilium/state/ip/v1/default/10.51.7.40", hub::ip("10.51.7.40", 331906));
  server.remove("cilium/state/ip/v1/default/10.51.64.0");
  server.remove("cilium/state/identities/v1/id/327681");
  server.remove("cilium/state/services/v1/west/shop/cart");
  EXPECT_TRUE(rig.until([&] { return rig.problem_text().empty(); })) << rig.problem_text();
  EXPECT_EQ(rig.removals, 2U);  // the Service and its slice
  EXPECT_EQ(rig.redundant_removals, 0U);
}

TEST_F(EtcdSourceTest, AnObjectWhoseValueIsStillInvalidInTheNextListIsRemoved) {
  follow_west();
  server.put("cilium/state/ip/v1/default/10.51.7.40", "nonsense");
  ASSERT_TRUE(rig.until([&] { return rig.reports("it is not JSON"); }));
  EXPECT_NE(rig.address("10.51.7.40"), nullptr);
  rig.folder.replace("configs/west", rig.config_text(server.url()) + "# reconnect\n");
  ASSERT_TRUE(rig.until([&] { return rig.address("10.51.7.40") == nullptr; }));
  EXPECT_TRUE(rig.reports("it is not JSON"));
}

TEST_F(EtcdSourceTest, NodesAddressesAndIdentitiesAreRead) {
  follow_west();
  server.put(
      {{"cilium/state/nodes/v1/west/w-9",
        R"({"Name":"w-9","Cluster":"west","ClusterID":5,"IPAddresses":[{"Type":"ExternalIP","IP":"198.51.100.9"},)"
        R"({"Type":"InternalIP","IP":"192.0.2.9"}],"IPv4AllocCIDR":"10.51.9.0/24",)"
        R"("IPv6AllocCIDR":{"IP":"fd00:51:9::","Mask":"//////////8AAAAAAAAAAA=="}})"},
       {"cilium/state/ip/v1/default/192.0.2.17", hub::ip("192.0.2.17", 1, "")},
       {"cilium/state/ip/v1/default/10.51.64.0/18",
        R"({"IP":"10.51.64.0","Mask":"///AAA==","HostIP":"","ID":2,"Key":0,"Metadata":""})"},
       {"cilium/state/identities/v1/id/327682", "k8s:expr=a=b:c;k8s:flag=;k8s:io.cilium.k8s.policy.cluster=west;"}});
  ASSERT_TRUE(rig.until([&] {
    return rig.node("w-9") && rig.address("192.0.2.17") && rig.address("10.51.64.0/18") &&
           rig.find<IdentityObject>(ObjectKind::kIdentity, "west", "327682");
  })) << rig.problem_text();
  EXPECT_THAT(rig.node("w-9")->addresses, ElementsAre(*IpAddress::parse("192.0.2.9")));
  EXPECT_THAT(rig.node("w-9")->pod_prefixes,
              ElementsAre(*Prefix::parse("10.51.9.0/24"), *Prefix::parse("fd00:51:9::/64")));
  EXPECT_EQ(rig.address("192.0.2.17")->identity, identity::kRemoteNode);
  EXPECT_EQ(rig.address("10.51.64.0/18")->prefix, *Prefix::parse("10.51.64.0/18"));
  const auto& labels = rig.find<IdentityObject>(ObjectKind::kIdentity, "west", "327682")->labels;
  EXPECT_EQ(labels.at("k8s:expr"), "a=b:c");
  EXPECT_EQ(labels.at("k8s:flag"), "");
  // The cluster's pod prefixes follow its nodes.
  ASSERT_TRUE(rig.until([&] { return rig.cluster()->pod_prefixes.size() == 3; }));
  server.remove("cilium/state/nodes/v1/west/w-9");
  ASSERT_TRUE(rig.until([&] { return rig.cluster()->pod_prefixes.size() == 1; }));
}

TEST_F(EtcdSourceTest, SetsOfPortsBecomeSlicesAndUnsharingRemovesThem) {
  follow_west();
  server.put("cilium/state/services/v1/west/test/multi",
             hub::service("test/multi", R"({"10.51.7.3":{"a":{"Protocol":"TCP","Port":80},"b":{"Protocol":"TCP",)"
                                        R"("Port":80},"d":{"Protocol":"UDP","Port":80}},"10.51.7.4":{"a":{"Protocol":)"
                                        R"("TCP","Port":81}}})"));
  const auto slice = [&](const char* name) { return rig.find<SliceObject>(ObjectKind::kSlice, "west", name, "test"); };
  ASSERT_TRUE(rig.until([&] { return slice("multi") && slice("multi.2"); }));
  EXPECT_EQ(slice("multi")->ports.size(), 3U);
  EXPECT_THAT(slice("multi.2")->ports, ElementsAre(ServicePort{"a", IpProtocol::kTcp, L4Port{81}}));
  EXPECT_EQ(slice("multi.2")->service, "multi");
  std::string unshared = hub::service("test/multi", "{}");
  unshared.replace(unshared.find("true"), 4, "false");
  server.put("cilium/state/services/v1/west/test/multi", unshared);
  ASSERT_TRUE(rig.until([&] { return !slice("multi") && !slice("multi.2"); }));
  EXPECT_EQ(rig.find<ServiceObject>(ObjectKind::kService, "west", "multi", "test"), nullptr);
  EXPECT_EQ(rig.redundant_removals, 0U);
}

TEST_F(EtcdSourceTest, PrefixesWaitForTheirCanaries) {
  hub::heartbeat(server);
  server.put({{"cilium/cluster-config/west", hub::config(5)},
              {"cilium/state/nodes/v1/west/w-7", hub::node("w-7", "192.0.2.17", "10.51.7.0/24")},
              {"cilium/state/ip/v1/default/10.51.7.40", hub::ip("10.51.7.40", 331906)},
              {"cilium/synced/west/cilium/cache/ip/v1", "2026-03-02T10:00:00Z"},  // of the other layout
              {"cilium/synced/west/cilium/state/nodes/v1", "2026-03-02T10:00:00Z"}});
  rig.follow("west", server);
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.cluster() != nullptr && rig.is(HubState::Sync::kListing); }));
  EXPECT_EQ(rig.address("10.51.7.40"), nullptr);
  EXPECT_FALSE(rig.source->synced());
  hub::put_canaries(server);
  ASSERT_TRUE(rig.until([&] { return rig.is(HubState::Sync::kSynced) && rig.address("10.51.7.40"); }));
}

TEST_F(EtcdSourceTest, AMissingClusterConfigurationIsReportedUntilItExists) {
  hub::heartbeat(server);
  rig.follow("west", server);
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.reports("no configuration of cluster west"); }));
  hub::publish(server);
  ASSERT_TRUE(rig.until([&] { return rig.is(HubState::Sync::kSynced) && rig.problem_text().empty(); }));
}

TEST_F(EtcdSourceTest, TheBackendsOfTheGatewayServiceAreGateways) {
  follow_west();
  server.put(
      "cilium/state/services/v1/west/kube-system/isthmus-gateway",
      hub::service("kube-system/isthmus-gateway",
                   R"({"192.0.2.21":{"vxlan":{"Protocol":"UDP","Port":8473},"health":{"Protocol":"UDP","Port":9}},)"
                   R"("192.0.2.22":{"t":{"Protocol":"UDP","Port":8472}}})",
                   R"(,"hostnames":{"192.0.2.21":"gateway-0"})"));
  const auto gateway = [&](const char* name) { return rig.find<GatewayObject>(ObjectKind::kGateway, "", name); };
  ASSERT_TRUE(rig.until([&] { return gateway("gateway-0") && gateway("west-192-0-2-22"); }));
  EXPECT_EQ(gateway("gateway-0")->port, L4Port{8473});
  EXPECT_EQ(gateway("gateway-0")->cluster, "west");
  // A registered gateway with the same address takes precedence.
  const std::string key = "cilium/state/isthmus/gateways/v1/west/own-name";
  server.put(key, R"({"cluster":"west","name":"own-name","underlay":["192.0.2.22"],"port":8472,"zone":"w1"})");
  ASSERT_TRUE(rig.until([&] { return gateway("own-name") && !gateway("west-192-0-2-22"); }));
  server.remove(key);
  ASSERT_TRUE(rig.until([&] { return !gateway("own-name") && gateway("west-192-0-2-22"); }));
  EXPECT_EQ(rig.redundant_removals, 0U);
}

TEST_F(EtcdSourceTest, AnExportedServiceHasTheBackendsOfItsDerivedService) {
  hub::publish(server);
  server.put("cilium/cluster-config/west", hub::config(5, R"("syncedCanaries":true,"serviceExportsEnabled":true)"));
  server.put(
      {{"cilium/state/serviceexports/v1/west/shop/pay",
        R"({"cluster":"west","name":"pay","namespace":"shop","exportCreationTimestamp":"2026-03-02T10:00:00Z",)"
        R"("ports":[{"name":"http","protocol":"TCP","port":81}],"type":"ClusterSetIP","sessionAffinity":"ClientIP",)"
        R"("Labels":{"t":"1"}})"},
       {"cilium/state/services/v1/west/shop/derived-q358ba8kk0",
        hub::service("shop/derived-q358ba8kk0", R"({"10.51.7.40":{"http":{"Protocol":"TCP","Port":8081}}})",
                     R"(,"labels":{"multicluster.kubernetes.io/service-name":"pay"})")}});
  rig.follow("west", server);
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.is(HubState::Sync::kSynced); })) << rig.problem_text();
  const auto* service = rig.find<ServiceObject>(ObjectKind::kService, "west", "pay", "shop");
  ASSERT_NE(service, nullptr);
  EXPECT_TRUE(service->client_ip_affinity);
  EXPECT_EQ(service->created, 1772445600);
  EXPECT_EQ(service->labels->at("t"), "1");
  const auto* slice = rig.find<SliceObject>(ObjectKind::kSlice, "west", "derived-q358ba8kk0", "shop");
  ASSERT_NE(slice, nullptr);
  EXPECT_EQ(slice->service, "pay");
  EXPECT_EQ(rig.find<ServiceObject>(ObjectKind::kService, "west", "derived-q358ba8kk0", "shop"), nullptr);
}

std::string endpoint_slice(const std::string& name, const std::string& service, const std::string& address) {
  clustermesh::ClusterEndpointSlice slice;
  slice.set_cluster("west");
  slice.set_clusterid(5);
  slice.set_namespace_("shop");
  slice.set_name(name);
  (*slice.mutable_labels())["kubernetes.io/service-name"] = service;
  slice.set_addresstype("IPv4");
  slice.add_endpoints()->add_addresses(address);
  auto& port = *slice.add_ports();
  port.set_name("http");
  port.set_port(8080);
  const std::string bytes = slice.SerializeAsString();
  std::string frame(ZSTD_compressBound(bytes.size()), '\0');
  frame.resize(ZSTD_compress(frame.data(), frame.size(), bytes.data(), bytes.size(), 1));
  return frame;
}

TEST_F(EtcdSourceTest, AClusterThatPublishesOnlySlicesHasServicesFromThem) {
  hub::heartbeat(server);
  server.put({{"cilium/cluster-config/west",
               hub::config(5, R"("syncedCanaries":true,"endpointSlicesExportMode":"endpointslices-only")")},
              {"cilium/synced/west/cilium/state/nodes/v1", "now"},
              {"cilium/synced/west/cilium/state/identities/v1", "now"},
              {"cilium/synced/west/cilium/state/ip/v1", "now"},
              {"cilium/synced/west/cilium/state/endpointslices/v1", "now"},
              {"cilium/state/endpointslices/v1/west/shop/cart-1", endpoint_slice("cart-1", "cart", "10.51.7.40")}});
  rig.follow("west", server);
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.source->synced() && rig.is(HubState::Sync::kSynced); })) << rig.problem_text();
  const auto* service = rig.find<ServiceObject>(ObjectKind::kService, "west", "cart", "shop");
  ASSERT_NE(service, nullptr);
  EXPECT_TRUE(service->global && service->ports.empty());
  const auto* slice = rig.find<SliceObject>(ObjectKind::kSlice, "west", "cart-1", "shop");
  ASSERT_NE(slice, nullptr);
  EXPECT_EQ(slice->service, "cart");
}

TEST_F(EtcdSourceTest, PreferredSlicesReplaceTheServicesBackends) {
  rig.options.prefer_slices = true;
  hub::publish(server);
  server.put("cilium/cluster-config/west",
             hub::config(5, R"("syncedCanaries":true,"endpointSlicesExportMode":"services-and-endpointslices")"));
  server.put("cilium/state/endpointslices/v1/west/shop/cart-1", endpoint_slice("cart-1", "cart", "10.51.7.41"));
  rig.follow("west", server);
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.source->synced() && rig.is(HubState::Sync::kSynced); })) << rig.problem_text();
  EXPECT_EQ(rig.find<SliceObject>(ObjectKind::kSlice, "west", "cart", "shop"), nullptr);
  EXPECT_NE(rig.find<SliceObject>(ObjectKind::kSlice, "west", "cart-1", "shop"), nullptr);
  const auto* service = rig.find<ServiceObject>(ObjectKind::kService, "west", "cart", "shop");
  ASSERT_NE(service, nullptr);
  EXPECT_EQ(service->ports.size(), 1U);
}

TEST_F(EtcdSourceTest, AClusterWithoutCanariesIsReadAtOnce) {
  hub::heartbeat(server);
  server.put({{"cilium/cluster-config/west", hub::config(5, "")},
              {"cilium/state/ip/v1/default/10.51.7.40", hub::ip("10.51.7.40", 331906)}});
  rig.follow("west", server);
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.is(HubState::Sync::kSynced); })) << rig.problem_text();
  EXPECT_NE(rig.address("10.51.7.40"), nullptr);
}

TEST_F(EtcdSourceTest, With511ClustersTheIdentityHasFifteenLocalBits) {
  rig.options.max_connected_clusters = 511;
  hub::heartbeat(server);
  server.put({{"cilium/cluster-config/west", hub::config(300, R"("maxConnectedClusters":255)")},
              {"cilium/state/ip/v1/default/10.51.7.40", hub::ip("10.51.7.40", (300U << 15) + 7)},
              {"cilium/state/ip/v1/default/10.51.7.41", hub::ip("10.51.7.41", 300U << 16)}});
  rig.follow("west", server);
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.reports("maxConnectedClusters is 255"); }));
  server.put("cilium/cluster-config/west", hub::config(300, R"("maxConnectedClusters":511)"));
  ASSERT_TRUE(rig.until([&] { return rig.is(HubState::Sync::kSynced); })) << rig.problem_text();
  EXPECT_NE(rig.address("10.51.7.40"), nullptr);
  EXPECT_EQ(rig.address("10.51.7.41"), nullptr);
  EXPECT_EQ(rig.find<ProfileObject>(ObjectKind::kProfile, "", "clustermesh")->max_connected_clusters, 511U);
}

// A cluster that moves behind KVStoreMesh and changes its id in one step.
TEST_F(EtcdSourceTest, ANewIdAndLayoutAreFollowedAfterTheOldDataIsRemoved) {
  rig.write_certificates(etcd_pki().client("root"));
  follow_west();
  server.put("cilium/cache/ip/v1/west/10.52.0.1", hub::ip("10.52.0.1", 6U << 16));
  server.put("cilium/cache/nodes/v1/west/w-7", hub::node("w-7", "192.0.2.17", "10.52.0.0/24", "west", 6));
  server.put("cilium/cluster-config/west", hub::config(6, R"("cached":true,"syncedCanaries":true)"));
  ASSERT_TRUE(rig.until([&] { return rig.cluster() == nullptr && rig.address("10.51.7.40") == nullptr; }));
  EXPECT_EQ(rig.address("10.52.0.1"), nullptr);  // its canary is missing
  hub::put_canaries(server, "west", "cache");
  ASSERT_TRUE(rig.until([&] { return rig.address("10.52.0.1") != nullptr && rig.cluster() != nullptr; }))
      << rig.problem_text();
  EXPECT_EQ(rig.cluster()->id, ClusterId{6});
  EXPECT_EQ(rig.redundant_removals, 0U);
}

TEST_F(EtcdSourceTest, ThousandsOfKeysAreListedInPagesAndFollowed) {
  rig.options.list_page = 256;
  hub::publish(server);
  constexpr int kAddresses = 1000;
  for (int i = 0; i < kAddresses; ++i) {
    const std::string address = "10.52." + std::to_string(i / 250) + "." + std::to_string(i % 250);
    server.put("cilium/state/ip/v1/default/" + address, hub::ip(address, 331906));
  }
  rig.follow("west", server);
  rig.start();
  ASSERT_TRUE(rig.until([&] { return rig.count(ObjectKind::kAddress) == kAddresses + 1; })) << rig.problem_text();
  server.remove_prefix("cilium/state/ip/v1/default/10.52.");
  ASSERT_TRUE(rig.until([&] { return rig.state().retained == kAddresses; })) << "as when their leases expire";
  EXPECT_EQ(rig.removals, 0U);
}

}  // namespace
}  // namespace isthmus
