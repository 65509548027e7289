// All decoders, by rows: what is decoded, and what is rejected with which message.
#include "control/source/etcd/values.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zstd.h>

#include "control/source/etcd/ip_scan.h"
#include "control/source/etcd/json_value.h"
#include "endpoint_slice.pb.h"

namespace isthmus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const EtcdValueContext kWest{"west", ClusterId{5}, 255};
const EtcdValueContext kWideWest{"west", ClusterId{5}, 511};

std::string ip_value(const std::string& ip, const std::string& mask, const std::string& id,
                     const std::string& more = "") {
  return R"({"IP":")" + ip + R"(","Mask":)" + mask + R"(,"HostIP":"","ID":)" + id + R"(,"Key":0,"Metadata":"")" + more +
         "}";
}

TEST(ClusterConfigValueTest, CapabilitiesAreRead) {
  const auto full = decode_cluster_config(
      255, R"({"id":5,"capabilities":{"syncedCanaries":true,"cached":true,"maxConnectedClusters":255,)"
           R"("serviceExportsEnabled":false,"endpointSlicesExportMode":"services-and-endpointslices","later":1}})");
  ASSERT_TRUE(full.ok()) << full.error().what;
  EXPECT_EQ(*full, (ClusterConfigValue{ClusterId{5}, true, true, false, ClusterConfigValue::Slices::kBesideServices}));
  const auto least = decode_cluster_config(255, R"({"id":255,"capabilities":{}})");
  ASSERT_TRUE(least.ok());
  EXPECT_EQ(*least, (ClusterConfigValue{ClusterId{255}, false, false, std::nullopt, {}}));
  const auto only = decode_cluster_config(255, R"({"id":5,"capabilities":{"endpointSlicesExportMode":)"
                                               R"("endpointslices-only"}})");
  ASSERT_TRUE(only.ok());
  EXPECT_EQ(only->slices, ClusterConfigValue::Slices::kOnly);
}

TEST(ClusterConfigValueTest, InvalidValuesAreRejected) {
  const struct {
    unsigned most;
    const char *value, *why;
  } rows[] = {
      {255, R"({"capabilities":{}})", "id is 0"},
      {255, R"({"id":256})", "not in 1..255"},
      {255, R"({"id":-1})", "id is not a number"},
      {255, R"({"id":"5"})", "id is not a number"},
      {255, R"({"id":5.5})", "id is not a number"},
      {511, R"({"id":5,"capabilities":{"maxConnectedClusters":255}})", "maxConnectedClusters is 255"},
      {511, R"({"id":512,"capabilities":{"maxConnectedClusters":511}})", "not in 1..511"},
      {255, R"({"id":5,"capabilities":{"endpointSlicesExportMode":"both"}})", "\"both\" is not known"},
      {255, R"({"id":5,"capabilities":[]})", "capabilities is not an object"},
      {255, "[]", "not an object"},
      {255, "", "not JSON"},
  };
  for (const auto& row : rows) {
    const auto config = decode_cluster_config(row.most, row.value);
    ASSERT_FALSE(config.ok()) << row.value;
    EXPECT_THAT(config.error().what, HasSubstr(row.why)) << row.value;
    EXPECT_FALSE(config.error().fix.empty());
  }
  EXPECT_TRUE(decode_cluster_config(511, R"({"id":511,"capabilities":{"maxConnectedClusters":511}})").ok());
}

TEST(NodeValueTest, PrefixesHaveThreeFormsAndOneAddressPerFamilyIsChosen) {
  const auto node = decode_node(
      kWest, "w-7",
      R"({"Name":"w-7","Cluster":"west","IPAddresses":[{"Type":"CiliumInternalIP","IP":"10.51.7.3"},)"
      R"({"Type":"Hostname","IP":"w-7"},{"Type":"ExternalIP","IP":"198.51.100.7"},{"Type":"InternalIP","IP":"192.0.2.17"},)"
      R"({"Type":"ExternalIP","IP":"2001:db8::7"}],"IPv4AllocCIDR":{"IP":"10.51.7.0","Mask":"////AA=="},)"
      R"("IPv4SecondaryAllocCIDRs":["10.52.7.0/24",{"IP":"10.53.0.0","Mask":"//8AAA=="}],"IPv6AllocCIDR":null,)"
      R"("IPv6SecondaryAllocCIDRs":null,"IPv4HealthIP":"10.51.7.9","IPv6HealthIP":"","IPv4IngressIP":"10.51.7.8",)"
      R"("IPv6IngressIP":"fd00:51:7::8","ClusterID":5,"NodeIdentity":6,"Labels":null})");
  ASSERT_TRUE(node.ok()) << node.error().what;
  EXPECT_THAT(node->addresses, ElementsAre(*IpAddress::parse("192.0.2.17"), *IpAddress::parse("2001:db8::7")));
  EXPECT_THAT(node->inner, ElementsAre(*IpAddress::parse("10.51.7.3")));
  EXPECT_THAT(node->health, ElementsAre(*IpAddress::parse("10.51.7.9")));
  EXPECT_THAT(*node->ingress, ElementsAre(*IpAddress::parse("10.51.7.8"), *IpAddress::parse("fd00:51:7::8")));
  EXPECT_THAT(node->pod_prefixes, ElementsAre(*Prefix::parse("10.51.7.0/24"), *Prefix::parse("10.52.7.0/24"),
                                              *Prefix::parse("10.53.0.0/16")));
}

TEST(NodeValueTest, InvalidValuesAreRejected) {
  const std::string good = R"("Name":"w-7","Cluster":"west","ClusterID":5)";
  const std::pair<std::string, const char*> rows[] = {
      {R"({"Name":"w-8","Cluster":"west","ClusterID":5})", "not match the key"},
      {R"({"Cluster":"west","ClusterID":5})", "not match the key"},
      {R"({"Name":"w-7","Cluster":"east","ClusterID":5})", "is not west"},
      {R"({"Name":"w-7","Cluster":"west","ClusterID":6})", "ClusterID 6"},
      {R"({"Name":"w-7","Cluster":"west"})", "ClusterID 0"},
      {"{" + good + R"(,"IPv4AllocCIDR":"10.51.7.0"})", "IPv4AllocCIDR is not a prefix"},
      {"{" + good + R"(,"IPv4AllocCIDR":{"IP":"10.51.7.0","Mask":"/wD/AA=="}})", "is not a prefix"},
      {"{" + good + R"(,"IPv4AllocCIDR":{"IP":"10.51.7.0","Mask":"//////////8AAAAAAAAAAA=="}})", "is not a prefix"},
      {"{" + good + R"(,"IPAddresses":[{"Type":"InternalIP","IP":"here"}]})", "is not an address"},
      {"{" + good + R"(,"IPAddresses":{}})", "is not a list"},
      {"{" + good + R"(,"IPv4HealthIP":"here"})", "IPv4HealthIP is not an address"},
  };
  for (const auto& [value, why] : rows) {
    const auto node = decode_node(kWest, "w-7", value);
    ASSERT_FALSE(node.ok()) << value;
    EXPECT_THAT(node.error().what, HasSubstr(why)) << value;
  }
  EXPECT_TRUE(decode_node(kWest, "w-7", "{" + good + "}").ok());
}

TEST(AddressValueTest, AddressesAreReadWithTheirPod) {
  const std::string value =
      R"({"IP":"10.51.7.40","Mask":null,"HostIP":"192.0.2.17","ID":331906,"Key":0,"Metadata":"","K8sNamespace":"shop",)"
      R"("K8sPodName":"cart-0","K8sServiceAccount":"cart"})";
  const auto address = decode_address(kWest, "10.51.7.40", value);
  ASSERT_TRUE(address.ok()) << address.error().what;
  EXPECT_EQ(*address,
            (AddressObject{
                *Prefix::parse("10.51.7.40"), Identity{331906}, IpAddress::parse("192.0.2.17"), "shop", "cart-0", {}}));
  IpFields fields;
  EXPECT_TRUE(scan_ip_fields(value, fields));
  const auto ports = decode_address(kWest, "10.51.7.40",
                                    ip_value("10.51.7.40", "null", "331906",
                                             R"(,"NamedPorts":[{"Name":"dns","Port":53,"Protocol":"UDP"},)"
                                             R"({"Name":"x","Port":1,"Protocol":"SCTP"}])"));
  ASSERT_TRUE(ports.ok()) << ports.error().what;
  EXPECT_THAT(*ports->named_ports, ElementsAre(ServicePort{"dns", IpProtocol::kUdp, L4Port{53}}));
}

TEST(AddressValueTest, TheKeyMustBeTheCanonicalText) {
  const struct {
    const char *suffix, *ip, *mask, *id;
    bool good;
  } rows[] = {
      {"10.51.7.40", "10.51.7.40", "null", "331906", true},
      {"10.51.7.40/32", "10.51.7.40", "null", "331906", false},
      {"10.51.7.40/32", "10.51.7.40", R"("/////w==")", "331906", true},
      {"10.51.64.0/18", "10.51.64.0", R"("///AAA==")", "2", true},
      {"10.51.64.0", "10.51.64.0", R"("///AAA==")", "2", false},
      {"10.51.64.1/18", "10.51.64.1", R"("///AAA==")", "2", false},
      {"fd00:51::1", "fd00:51:0::1", "null", "331906", true},
      {"fd00:51:0::1", "fd00:51:0::1", "null", "331906", false},
      {"fd00:51::/64", "fd00:51::", R"("//////////8AAAAAAAAAAA==")", "2", true},
      {"fd00:51::/64", "fd00:51::", R"("///AAA==")", "2", false},
      {"10.51.7.40", "::ffff:10.51.7.40", "null", "331906", true},
      {"10.51.7.40@2", "10.51.7.40@2", "null", "331906", false},
      {"10.51.7.41", "10.51.7.40", "null", "331906", false},
      {"10.51.64.0/18", "10.51.64.0", R"("nonsense")", "2", false},
  };
  for (const auto& row : rows) {
    const auto address = decode_address(kWest, row.suffix, ip_value(row.ip, row.mask, row.id));
    EXPECT_EQ(address.ok(), row.good) << row.suffix << " " << row.ip << " " << row.mask;
  }
}

TEST(AddressValueTest, IdentitiesMustBeTheClustersOrReserved) {
  const struct {
    const EtcdValueContext& context;
    const char* id;
    unsigned expected;  // 0: rejected
  } rows[] = {
      {kWest, "327680", 327680},
      {kWest, "393215", 393215},
      {kWest, "393216", 0},
      {kWest, "327679", 0},
      {kWest, "131077", 0},
      {kWest, "255", 255},
      {kWest, "256", 0},
      {kWest, "1", 6},
      {kWest, "6", 6},
      {kWest, "0", 0},
      {kWest, "16777217", 0},
      {kWest, "33554432", 0},
      {kWest, "4294967296", 0},
      {kWideWest, "163840", 163840},
      {kWideWest, "196607", 196607},
      {kWideWest, "196608", 0},
      {kWideWest, "327680", 0},
  };
  for (const auto& row : rows) {
    const auto address = decode_address(row.context, "10.0.0.1", ip_value("10.0.0.1", "null", row.id));
    EXPECT_EQ(address.ok() ? address->identity.value() : 0, row.expected) << row.id;
  }
}

TEST(AddressValueTest, TheScannerAndTheParserAgree) {
  const std::string values[] = {
      ip_value("10.51.7.40", "null", "331906"),
      ip_value("10.51.7.40", "null", "0331906"),
      ip_value("10.51.7.40", "null", "331906", R"(,"K8sPodName":"a","K8sNamespace":"b")"),
      ip_value("10.51.7.40", "null", "331906", R"(,"K8sPodName":"a\u0062")"),
      ip_value("10.51.7.40", R"("")", "331906"),
      ip_value("10.51.7.40", "null", "331906") + " ",
      " " + ip_value("10.51.7.40", "null", "331906"),
  };
  for (const std::string& value : values) {
    // A leading blank makes the scanner give up and is ignored by the parser.
    const auto scanned = decode_address(kWest, "10.51.7.40", value),
               parsed = decode_address(kWest, "10.51.7.40", " " + value);
    ASSERT_EQ(scanned.ok(), parsed.ok()) << value;
    if (scanned.ok()) {
      EXPECT_EQ(*scanned, *parsed);
    }
  }
}

TEST(IdentityValueTest, LabelsAreSplitAtTheFirstSeparators) {
  const auto identity =
      decode_identity(kWest, "327682", "k8s:expr=a=b:c;k8s:flag=;$host=;bare=1;k8s:io.cilium.k8s.policy.cluster=west;");
  ASSERT_TRUE(identity.ok()) << identity.error().what;
  EXPECT_EQ(identity->id, Identity{327682});
  const std::map<std::string, std::string> expected = {{"k8s:expr", "a=b:c"},
                                                       {"k8s:flag", ""},
                                                       {"reserved:host", ""},
                                                       {"unspec:bare", "1"},
                                                       {"k8s:io.cilium.k8s.policy.cluster", "west"}};
  EXPECT_EQ(identity->labels, expected);
}

TEST(IdentityValueTest, InvalidValuesAreRejected) {
  const std::string good = "k8s:io.cilium.k8s.policy.cluster=west;";
  const std::pair<const char*, std::string> rows[] = {
      {"327681", "k8s:app=a;k8s:io.cilium.k8s.policy.cluster=east;"},
      {"327681", "k8s:app=a;"},
      {"327681", "any:io.cilium.k8s.policy.cluster=west;"},
      {"327681", ""},
      {"327681", "k8s:app=\xff;" + good},
      {"131077", good},
      {"6", good},
      {"0327681", good},
      {"+327681", good},
      {"327681x", good},
      {"", good},
  };
  for (const auto& [suffix, value] : rows) {
    EXPECT_FALSE(decode_identity(kWest, suffix, value).ok()) << suffix << " " << value;
  }
  EXPECT_TRUE(decode_identity(kWest, "327681", good).ok());
  EXPECT_FALSE(decode_identity(kWideWest, "327681", good).ok());
  EXPECT_TRUE(decode_identity(kWideWest, "163841", good).ok());
}

std::string service_value(const std::string& more) {
  return R"({"cluster":"west","clusterID":5,"namespace":"test","name":"echo","shared":true)" + more + "}";
}

TEST(ServiceValueTest, PortsComeFromFrontendsAndSlicesFromBackends) {
  const auto service = decode_service(
      kWest, "test/echo",
      service_value(
          R"(,"frontends":{"10.90.0.12":{"http":{"Protocol":"TCP","Port":80}}},"backends":{"10.51.7.40":{"http":)"
          R"({"Protocol":"TCP","Port":8080}},"10.51.7.41":{"http":{"Protocol":"TCP","Port":8080}}},)"
          R"("zones":{"10.51.7.40":{"zone":"w1","forZones":[]}},"labels":{"isthmus.io/vip":"192.0.2.1_fd00--1"},)"
          R"("selector":{"app":"cart"},"includeExternal":true)"));
  ASSERT_TRUE(service.ok()) << service.error().what;
  EXPECT_TRUE(service->shared && service->object.global && service->object.shared);
  EXPECT_THAT(service->object.ports, ElementsAre(ServicePort{"http", IpProtocol::kTcp, L4Port{80}}));
  EXPECT_THAT(service->object.claimed_vips, ElementsAre(*IpAddress::parse("192.0.2.1"), *IpAddress::parse("fd00::1")));
  EXPECT_EQ(service->object.selector->at("app"), "cart");
  ASSERT_EQ(service->slices.size(), 1U);
  ASSERT_EQ(service->slices[0].endpoints.size(), 2U);
  EXPECT_EQ(service->slices[0].endpoints[0].zone, "w1");
  EXPECT_EQ(service->slices[0].weight, 100);
  EXPECT_TRUE(service->slices[0].endpoints[1].ready);
}

TEST(ServiceValueTest, HeadlessServicesTakeTheirPortsFromBackends) {
  const auto service = decode_service(
      kWest, "test/echo",
      service_value(
          R"(,"frontends":{},"backends":{"10.51.7.3":{"a":{"Protocol":"TCP","Port":80},"b":{"Protocol":"TCP",)"
          R"("Port":80},"d":{"Protocol":"UDP","Port":80},"s":{"Protocol":"SCTP","Port":80}}})"));
  ASSERT_TRUE(service.ok()) << service.error().what;
  EXPECT_THAT(service->object.ports, ElementsAre(ServicePort{"a", IpProtocol::kTcp, L4Port{80}},
                                                 ServicePort{"b", IpProtocol::kTcp, L4Port{80}},
                                                 ServicePort{"d", IpProtocol::kUdp, L4Port{80}}));
}

TEST(ServiceValueTest, AnInvalidVipIsListedAndTheServiceKept) {
  const auto service =
      decode_service(kWest, "test/echo", service_value(R"(,"labels":{"isthmus.io/vip":"192.0.2.1_here_0.0.0.0"})"));
  ASSERT_TRUE(service.ok());
  EXPECT_THAT(service->object.claimed_vips, ElementsAre(*IpAddress::parse("192.0.2.1")));
  EXPECT_THAT(service->unreadable_vips, ElementsAre("here", "0.0.0.0"));
}

TEST(ServiceValueTest, InvalidValuesAreRejected) {
  const std::pair<std::string, const char*> rows[] = {
      {R"({"cluster":"east","clusterID":5,"namespace":"test","name":"echo","shared":true})", "is not west"},
      {R"({"cluster":"west","clusterID":6,"namespace":"test","name":"echo","shared":true})", "clusterID 6"},
      {R"({"cluster":"west","clusterID":5,"namespace":"test","name":"other","shared":true})", "not match the key"},
      {R"({"cluster":"west","clusterID":5,"name":"test/echo","shared":true})", "not match the key"},
      {service_value(R"(,"backends":{"10.51.7.3@2":{}})"), "is not an address"},
      {service_value(R"(,"frontends":{"here":{}})"), "is not an address"},
      {service_value(R"(,"backends":{"10.51.7.3":{"a":{"Protocol":"TCP","Port":65536}}})"), "is not a number"},
      {service_value(R"(,"backends":[])"), "is not an object"},
      {service_value(R"(,"labels":{"a":1})"), "a value that is not text"},
  };
  for (const auto& [value, why] : rows) {
    const auto service = decode_service(kWest, "test/echo", value);
    ASSERT_FALSE(service.ok()) << value;
    EXPECT_THAT(service.error().what, HasSubstr(why)) << value;
  }
}

std::string export_value(const std::string& more) {
  return R"({"cluster":"west","name":"cart","namespace":"shop","exportCreationTimestamp":"2026-03-02T10:00:00Z")" +
         more + "}";
}

TEST(ServiceExportValueTest, ExportsAreRead) {
  const auto exported = decode_service_export(
      kWest, "shop/cart",
      export_value(
          R"(,"ports":[{"name":"http","protocol":"TCP","port":81,"appProtocol":"h2c"},{"port":53,"protocol":"UDP"}],)"
          R"("type":"Headless","sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":)"
          R"({"timeoutSeconds":60}},"Labels":{"t":"1"},"labels":{"t":"2"},"ipFamilies":["IPv4"])"));
  ASSERT_TRUE(exported.ok()) << exported.error().what;
  EXPECT_TRUE(exported->headless && exported->object.client_ip_affinity && exported->object.global);
  EXPECT_EQ(exported->object.created, 1772445600);
  EXPECT_EQ(exported->affinity_seconds, 60);
  EXPECT_EQ(exported->object.labels->at("t"), "2");
  EXPECT_THAT(exported->object.ports, ElementsAre(ServicePort{"http", IpProtocol::kTcp, L4Port{81}},
                                                  ServicePort{"", IpProtocol::kUdp, L4Port{53}}));
  EXPECT_EQ(decode_service_export(kWest, "shop/cart", export_value(R"(,"Labels":{"t":"1"})"))->object.labels->at("t"),
            "1");
}

TEST(ServiceExportValueTest, InvalidValuesAreRejected) {
  const std::pair<std::string, const char*> rows[] = {
      {R"({"cluster":"west","name":"cart","namespace":"shop"})", "is not a time"},
      {R"({"cluster":"west","name":"cart","namespace":"shop","exportCreationTimestamp":"yesterday"})", "is not a time"},
      {R"({"cluster":"west","name":"cart","namespace":"other","exportCreationTimestamp":"2026-03-02T10:00:00Z"})",
       "not match the key"},
      {export_value(R"(,"type":"Other")"), "is not known"},
      {export_value(R"(,"sessionAffinity":"Other")"), "is not known"},
      {export_value(R"(,"internalTrafficPolicy":"Other")"), "is not known"},
      {export_value(R"(,"trafficDistribution":"Other")"), "is not known"},
      {export_value(R"(,"ipFamilies":["IPv5"])"), "is not known"},
      {export_value(R"(,"ports":[{"protocol":"XTP","port":1}])"), "is not known"},
  };
  for (const auto& [value, why] : rows) {
    const auto exported = decode_service_export(kWest, "shop/cart", value);
    ASSERT_FALSE(exported.ok()) << value;
    EXPECT_THAT(exported.error().what, HasSubstr(why)) << value;
  }
}

clustermesh::ClusterEndpointSlice slice_message() {
  clustermesh::ClusterEndpointSlice slice;
  slice.set_cluster("west");
  slice.set_clusterid(5);
  slice.set_namespace_("shop");
  slice.set_name("cart-abc");
  (*slice.mutable_labels())["kubernetes.io/service-name"] = "cart";
  slice.set_addresstype("IPv4");
  auto& endpoint = *slice.add_endpoints();
  endpoint.add_addresses("10.51.7.40");
  endpoint.set_nodename("w-7");
  endpoint.set_zone("w1");
  auto& port = *slice.add_ports();
  port.set_name("http");
  port.set_protocol("TCP");
  port.set_port(8080);
  return slice;
}

std::string compressed(const std::string& bytes) {
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 1));
  return out;
}

std::string encoded(const clustermesh::ClusterEndpointSlice& slice) { return compressed(slice.SerializeAsString()); }

TEST(EndpointSliceValueTest, SlicesAreRead) {
  clustermesh::ClusterEndpointSlice message = slice_message();
  (*message.mutable_annotations())["service.cilium.io/weight"] = "0";
  auto& leaving = *message.add_endpoints();
  leaving.add_addresses("10.51.7.41");
  leaving.mutable_conditions()->set_ready(false);
  leaving.mutable_conditions()->set_terminating(true);
  const auto slice = decode_endpoint_slice(kWest, "shop/cart-abc", encoded(message));
  ASSERT_TRUE(slice.ok()) << slice.error().what;
  EXPECT_EQ(slice->object.service, "cart");
  EXPECT_EQ(slice->object.weight, 0);
  EXPECT_THAT(slice->object.ports, ElementsAre(ServicePort{"http", IpProtocol::kTcp, L4Port{8080}}));
  ASSERT_EQ(slice->object.endpoints.size(), 2U);
  EXPECT_EQ(slice->object.endpoints[0],
            (SliceEndpoint{{*IpAddress::parse("10.51.7.40")}, true, true, false, "w-7", "w1"}));
  EXPECT_EQ(slice->object.endpoints[1], (SliceEndpoint{{*IpAddress::parse("10.51.7.41")}, false, true, true, "", ""}));
}

TEST(EndpointSliceValueTest, AnInvalidWeightGivesTheDefault) {
  for (const char* weight : {"65536", "-1", "much", "1.5", ""}) {
    clustermesh::ClusterEndpointSlice message = slice_message();
    (*message.mutable_annotations())["service.cilium.io/weight"] = weight;
    const auto slice = decode_endpoint_slice(kWest, "shop/cart-abc", encoded(message));
    ASSERT_TRUE(slice.ok());
    EXPECT_EQ(slice->object.weight, 100) << weight;
  }
}

TEST(EndpointSliceValueTest, InvalidValuesAreRejected) {
  using Message = clustermesh::ClusterEndpointSlice;
  const std::pair<void (*)(Message&), const char*> rows[] = {
      {[](Message& m) { m.set_cluster("east"); }, "is not west"},
      {[](Message& m) { m.set_clusterid(6); }, "clusterID 6"},
      {[](Message& m) { m.set_name("other"); }, "not match the key"},
      {[](Message& m) { m.set_addresstype("FQDN"); }, "addressType"},
      {[](Message& m) { m.set_addresstype("IPv6"); }, "not match the slice's addressType"},
      {[](Message& m) { m.mutable_labels()->clear(); }, "does not name a Service"},
      {[](Message& m) { m.mutable_endpoints(0)->add_addresses("here"); }, "not match the slice's addressType"},
      {[](Message& m) { m.mutable_ports(0)->set_port(-1); }, "an invalid name or number"},
      {[](Message& m) { m.mutable_ports(0)->set_name("\n"); }, "an invalid name or number"},
  };
  for (const auto& [change, why] : rows) {
    Message message = slice_message();
    change(message);
    const auto slice = decode_endpoint_slice(kWest, "shop/cart-abc", encoded(message));
    ASSERT_FALSE(slice.ok()) << why;
    EXPECT_THAT(slice.error().what, HasSubstr(why));
  }
}

TEST(EndpointSliceValueTest, InvalidOrTooLargeFramesAreRejected) {
  const std::string good = encoded(slice_message());
  const std::pair<std::string, const char*> rows[] = {
      {"{}", "not a zstd frame"},
      {"", "truncated"},
      {good.substr(0, good.size() - 3), "truncated"},
      {good + good, "data follows"},
      {compressed("\xff\xff\xff"), "not a ClusterEndpointSlice"},
      {compressed(std::string((16U << 20) + 1, '\0')), "larger than 16 MiB"},
  };
  for (const auto& [value, why] : rows) {
    const auto slice = decode_endpoint_slice(kWest, "shop/cart-abc", value);
    ASSERT_FALSE(slice.ok()) << why;
    EXPECT_THAT(slice.error().what, HasSubstr(why));
  }
}

TEST(GatewayValueTest, AnEncodedGatewayDecodesToTheSame) {
  const GatewayValue gateway{"west-1",     "w1",       {*IpAddress::parse("192.0.2.31")},
                             L4Port{8473}, {"geneve"}, EncapsulationKind::kGeneve};
  const auto read = decode_gateway(kWest, "west-1", encode_gateway("west", gateway));
  ASSERT_TRUE(read.ok()) << read.error().what;
  EXPECT_EQ(*read, gateway);
}

TEST(GatewayValueTest, TheFirstKnownEncapsulationCountsWithItsDefaultPort) {
  const auto gateway = decode_gateway(
      kWest, "west-1",
      R"({"cluster":"west","name":"west-1","underlay":["192.0.2.1","2001:db8::1"],"encapsulations":["gre","geneve","vxlan"]})");
  ASSERT_TRUE(gateway.ok()) << gateway.error().what;
  EXPECT_EQ(gateway->encapsulation, EncapsulationKind::kGeneve);
  EXPECT_EQ(gateway->port, L4Port{6081});
  EXPECT_EQ(gateway->underlay.size(), 2u);
}

TEST(GatewayValueTest, InvalidValuesAreRejected) {
  const std::pair<const char*, const char*> rows[] = {
      {R"({"cluster":"west","name":"other","underlay":["192.0.2.1"]})", "not match the key"},
      {R"({"cluster":"east","name":"west-1","underlay":["192.0.2.1"]})", "is not west"},
      {R"({"cluster":"west","name":"west-1"})", "has no address"},
      {R"({"cluster":"west","name":"west-1","underlay":["0.0.0.0"]})", "is not an address"},
      {R"({"cluster":"west","name":"west-1","underlay":["192.0.2.1"],"port":65536})", "is not a number"},
      {R"({"cluster":"west","name":"west-1","underlay":["192.0.2.1"],"encapsulations":["gre","none"]})",
       "none that is known"},
  };
  for (const auto& [value, why] : rows) {
    const auto gateway = decode_gateway(kWest, "west-1", value);
    ASSERT_FALSE(gateway.ok()) << value;
    EXPECT_THAT(gateway.error().what, HasSubstr(why)) << value;
  }
}

}  // namespace
}  // namespace isthmus
