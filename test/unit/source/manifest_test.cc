#include "control/source/manifest/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "control/source/manifest/object_reader.h"
#include "test/unit/source/manifest_text.h"

namespace isthmus {
namespace {

using namespace manifest_text;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr auto kService = "apiVersion: v1\nkind: Service\nmetadata:\n  name: cart\n  namespace: shop\n";

struct ErrorRow {
  const char* description;
  std::string text;
  const char* cluster;
  const char* error;
};

class ManifestErrors : public testing::TestWithParam<ErrorRow> {};

TEST_P(ManifestErrors, NameLineValueAndFix) {
  EXPECT_THAT(one_error(GetParam().text, GetParam().cluster), HasSubstr(GetParam().error));
  EXPECT_THAT(objects_of(parse_manifest(GetParam().text, GetParam().cluster)), IsEmpty());
}

const ErrorRow kErrors[] = {
    {"a cluster id out of range", std::string(kCluster) + "spec: {id: 512, podCIDRs: [10.1.0.0/16]}\n", "",
     "4: spec.id is 512, out of range (write a number, 1 to 511)"},
    {"a profile that describes a cluster it does not name",
     std::string(kProfile) + "spec: {clusters: [east, west], members: [{cluster: north}]}\n", "",
     "4: spec.members[0].cluster is \"north\", which spec.clusters does not name (add it there, or remove the member)"},
    {"a profile that describes a cluster twice",
     std::string(kProfile) + "spec: {clusters: [east, west], members: [{cluster: west}, {cluster: west}]}\n", "",
     "4: spec.members[1].cluster is \"west\", which has been described above (describe each cluster once)"},
    {"a cluster without an id", std::string(kCluster) + "spec: {podCIDRs: [10.1.0.0/16]}\n", "",
     "4: spec.id is missing"},
    {"a cluster that does not say where its pods are", std::string(kCluster) + "spec: {id: 1}\n", "",
     "4: spec.podCIDRs is missing"},
    {"a CIDR with host bits", std::string(kCluster) + "spec:\n  id: 1\n  podCIDRs:\n  - 10.1.2.3/16\n", "",
     "7: spec.podCIDRs[0] is \"10.1.2.3/16\", with bits set beyond its length (write 10.1.0.0/16)"},
    {"a misspelled key of our own kind",
     std::string(kCluster) + "spec: {id: 1, podCidrs: [], podCIDRs: [10.1.0.0/16]}\n", "",
     "4: unknown key \"podCidrs\" in spec (did you mean podCIDRs?)"},
    {"no spec", kCluster, "", "spec is missing"},
    {"a cluster's name too long",
     "apiVersion: isthmus.io/v1alpha1\nkind: Cluster\nmetadata: {name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}\n"
     "spec: {id: 1, podCIDRs: [10.1.0.0/16]}\n",
     "", "3: metadata.name is"},
    {"a block whose length has a leading zero", std::string(kCluster) + "spec: {id: 1, podCIDRs: [10.0.0.0/08]}\n", "",
     "4: spec.podCIDRs[0] is \"10.0.0.0/08\", not an address block"},
    {"a cluster's name that is no text", std::string(kGateway) + "spec: {cluster: true, underlayAddress: 192.0.2.1}\n",
     "", "4: spec.cluster is true without quotes, which is no text (write \"true\")"},
    {"a number for a cluster's name in a profile", std::string(kProfile) + "spec: {clusters: [east, 12e3]}\n", "",
     "4: spec.clusters[1] is 12e3 without quotes, which is no text (write \"12e3\")"},
    {"an invalid gateway address", std::string(kGateway) + "spec: {cluster: east, underlayAddress: here}\n", "",
     "4: spec.underlayAddress is \"here\", not an IP address"},
    {"an unsupported encapsulation",
     std::string(kGateway) + "spec: {cluster: east, underlayAddress: 192.0.2.1, encapsulation: gre}\n", "",
     "4: spec.encapsulation is \"gre\" (write vxlan or geneve)"},
    {"a gateway without a tunnel",
     std::string(kGateway) + "spec: {cluster: east, underlayAddress: 192.0.2.1, encapsulation: none}\n", "",
     "4: spec.encapsulation is \"none\" (write vxlan or geneve)"},
    {"an unsupported encapsulation of a cluster",
     std::string(kCluster) + "spec: {id: 1, podCIDRs: [10.1.0.0/16], encapsulation: gre}\n", "",
     "4: spec.encapsulation is \"gre\" (write vxlan, geneve or none)"},
    {"two underlay addresses of one family",
     std::string(kGateway) + "spec: {cluster: east, underlayAddress: [192.0.2.1, 192.0.2.2]}\n", "",
     "4: spec.underlayAddress is not one address, or one of IPv4 and one of IPv6"},
    {"both forms of the underlay address",
     std::string(kGateway) + "spec: {cluster: east, underlayAddress: 192.0.2.1, underlayAddresses: [192.0.2.1]}\n", "",
     "4: spec has both underlayAddress and underlayAddresses (write one of them)"},
    {"underlay addresses that are no list",
     std::string(kGateway) + "spec: {cluster: east, underlayAddresses: 192.0.2.1}\n", "",
     "4: spec.underlayAddresses is a value, not a list"},
    {"an address block of IPv4 written as IPv6",
     std::string(kCluster) + "spec: {id: 1, podCIDRs: [\"::ffff:10.1.0.0/16\"]}\n", "",
     "4: spec.podCIDRs[0] is \"::ffff:10.1.0.0/16\", not an address block"},
    {"the broadcast address", std::string(kGateway) + "spec: {cluster: east, underlayAddress: 255.255.255.255}\n", "",
     "4: spec.underlayAddress is \"255.255.255.255\", which no host can have"},
    {"a cluster twice in a profile", std::string(kProfile) + "spec: {clusters: [east, east]}\n", "",
     "4: spec.clusters names east twice"},
    {"an unsupported number of clusters",
     std::string(kProfile) + "spec: {clusters: [east], maxConnectedClusters: 300}\n", "",
     "4: spec.maxConnectedClusters is \"300\" (write 255 or 511, without quotes)"},
    {"a number of clusters that is none",
     std::string(kProfile) + "spec: {clusters: [east], maxConnectedClusters: many}\n", "",
     "4: spec.maxConnectedClusters is \"many\" (write 255 or 511, without quotes)"},
    {"an unknown kind of our group", "apiVersion: isthmus.io/v1alpha1\nkind: Gatway\nmetadata: {name: x}\n", "",
     "1: unknown kind \"Gatway\" of isthmus.io (did you mean Gateway?)"},
    {"an unknown version of our group", "apiVersion: isthmus.io/v2\nkind: Gateway\nmetadata: {name: x}\n", "",
     "1: Gateway of apiVersion \"isthmus.io/v2\" is not read (write apiVersion: isthmus.io/v1alpha1)"},
    {"our kind in a cluster's folder", std::string(kProfile) + "spec: {clusters: [east]}\n", "east",
     "does not belong in this folder (move it to fleet/ of the hub)"},
    {"a manifest in the fleet's folder", kService, "", "move it to clusters/<cluster>/ of the hub"},
    {"no kind", "apiVersion: v1\nmetadata: {name: x}\n", "east", "1: the object has no kind"},
    {"no apiVersion", "kind: Pod\nmetadata: {name: x}\n", "east", "1: the object has no apiVersion"},
    {"no name", "apiVersion: v1\nkind: Pod\nmetadata: {namespace: x}\n", "east", "3: metadata.name is missing"},
    {"an invalid name", "apiVersion: v1\nkind: Pod\nmetadata: {name: A B}\n", "east", "3: metadata.name is \"A B\""},
    {"an EndpointSlice of an old version",
     "apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\nmetadata: {name: x}\n", "east",
     "is not read (write apiVersion: discovery.k8s.io/v1)"},
    {"an EndpointSlice of the core version", "apiVersion: v1\nkind: EndpointSlice\nmetadata: {name: x}\n", "east",
     "write apiVersion: discovery.k8s.io/v1"},
    {"a port out of range", std::string(kService) + "spec:\n  ports:\n  - port: 70000\n", "east",
     "8: spec.ports[0].port is 70000, out of range"},
    {"a port without a number", std::string(kService) + "spec:\n  ports:\n  - name: http\n", "east",
     "8: spec.ports[0].port is missing"},
    {"a protocol unknown to Kubernetes", std::string(kService) + "spec:\n  ports:\n  - {port: 1, protocol: tcp}\n",
     "east", "8: spec.ports[0].protocol is \"tcp\" (write TCP, UDP or SCTP)"},
    {"two ports of the same name",
     std::string(kService) + "spec:\n  ports:\n  - {name: a, port: 1}\n  - {name: a, port: 2}\n", "east",
     "9: two ports of spec.ports are named \"a\""},
    {"two ports of the same number",
     std::string(kService) + "spec:\n  ports:\n  - {name: a, port: 1}\n  - {name: b, port: 1}\n", "east",
     "9: two ports of spec.ports have number 1 and the same protocol"},
    {"ports that are not a list", std::string(kService) + "spec: {ports: 80}\n", "east",
     "6: spec.ports is a value, not a list"},
    {"a claim that is not an address", std::string(kService) + "  annotations:\n    isthmus.io/vip: 10.200.0.x\n",
     "east", "7: annotation isthmus.io/vip is \"10.200.0.x\", not an IP address"},
    {"an invalid time", std::string(kService) + "  creationTimestamp: yesterday\n", "east",
     "6: metadata.creationTimestamp is \"yesterday\", not a valid time"},
    {"a duplicate key", std::string(kService) + "spec: {}\nspec: {}\n", "east", "7: key \"spec\" is defined twice"},
    {"an address of the other family",
     "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: x, labels: {kubernetes.io/service-name: "
     "cart}}\n"
     "addressType: IPv4\nendpoints:\n- addresses: [\"fd00::1\"]\n",
     "east", "6: endpoints[0].addresses[0] is fd00::1, not of the slice's addressType"},
    {"a condition that is not a boolean",
     "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: x, labels: {kubernetes.io/service-name: "
     "cart}}\n"
     "addressType: IPv4\nendpoints:\n- {addresses: [10.1.0.1], conditions: {ready: maybe}}\n",
     "east", "6: endpoints[0].conditions.ready is \"maybe\", neither true nor false"},
    {"an unknown address type",
     "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: x, labels: {kubernetes.io/service-name: "
     "cart}}\n"
     "addressType: IPv5\n",
     "east", "4: addressType is \"IPv5\" (write IPv4 or IPv6)"},
    {"an identity local to a node",
     "apiVersion: cilium.io/v2\nkind: CiliumEndpoint\nmetadata: {name: x}\nstatus: {identity: {id: 16777217}}\n",
     "east", "4: status.identity.id is 16777217, out of range"},
    {"an identity that is not a number", "apiVersion: cilium.io/v2\nkind: CiliumIdentity\nmetadata: {name: abc}\n",
     "east", "3: metadata.name is \"abc\", not an identity"},
    {"an invalid pod address", "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nstatus: {podIP: 10.1.0}\n", "east",
     "4: status.podIP is \"10.1.0\", not an IP address"},
};
INSTANTIATE_TEST_SUITE_P(Rows, ManifestErrors, testing::ValuesIn(kErrors), [](const auto& row) {
  std::string name = row.param.description;
  for (char& c : name) {
    c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  }
  return name;
});

TEST(Services, HaveKubernetesDefaults) {
  const auto service =
      read_one<ServiceObject>(std::string(kService) + "spec: {ports: [{port: 80, targetPort: http}]}\n");
  EXPECT_FALSE(service.global);
  EXPECT_TRUE(service.shared);
  EXPECT_EQ(service.affinity, ServiceAffinity::kNone);
  EXPECT_FALSE(service.client_ip_affinity);
  EXPECT_THAT(service.ports, ElementsAre(ServicePort{"", IpProtocol::kTcp, L4Port{80}}));
  EXPECT_EQ(service.created, 0);
}

TEST(Services, HaveTheValuesOfCiliumsAnnotationsAndOurs) {
  const auto service = read_one<ServiceObject>(std::string(kService) + R"(  creationTimestamp: "2026-03-02T10:00:00Z"
  annotations:
    service.cilium.io/global: "True"
    io.cilium/shared-service: "false"
    service.cilium.io/affinity: Local
    isthmus.io/vip: "10.200.0.10, fd00:ff::a"
spec:
  sessionAffinity: ClientIP
  ports:
  - {name: dns, port: 53, protocol: UDP}
  - {name: dns-tcp, port: 53}
)");
  EXPECT_TRUE(service.global);
  EXPECT_FALSE(service.shared);
  EXPECT_EQ(service.affinity, ServiceAffinity::kLocal);
  EXPECT_TRUE(service.client_ip_affinity);
  EXPECT_EQ(service.affinity_seconds, 10800u);
  EXPECT_EQ(service.ports.size(), 2u);
  EXPECT_EQ(service.ports[0].protocol, IpProtocol::kUdp);
  EXPECT_THAT(service.claimed_vips, ElementsAre(ip("10.200.0.10"), ip("fd00:ff::a")));
  EXPECT_EQ(service.created, 1772445600);
}

TEST(Services, ReadInvalidAnnotationsAsCiliumDoesWithAWarning) {
  const Manifest manifest = parse_manifest(std::string(kService) +
                                               "  annotations:\n    service.cilium.io/global: \"yes\"\n"
                                               "    service.cilium.io/affinity: near\n",
                                           "east");
  EXPECT_THAT(errors_of(manifest),
              ElementsAre(HasSubstr("7: warning: annotation service.cilium.io/global is \"yes\""),
                          HasSubstr("8: warning: annotation service.cilium.io/affinity is \"near\"")));
  ASSERT_EQ(objects_of(manifest).size(), 1u);
  EXPECT_FALSE(std::get<ServiceObject>(*objects_of(manifest)[0].value).global);
}

constexpr auto kSlice = R"(apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: cart-x
  namespace: shop
  labels: {kubernetes.io/service-name: cart}
  annotations: {service.cilium.io/weight: "0"}
addressType: IPv6
ports:
- {name: http, port: 8080}
- {name: any, port: null}
endpoints:
- addresses: ["fd00:1::1"]
- addresses: ["fd00:1::2"]
  conditions: {ready: false, terminating: true}
- addresses: ["fd00:1::3"]
  conditions: {ready: false, serving: true, terminating: true}
  nodeName: n1
  zone: z1
)";

TEST(Services, NameWhatTheyAskForAndDoNotGet) {
  const auto ignored = [](const std::string& annotations, const std::string& spec) {
    return read_one<ServiceObject>("apiVersion: v1\nkind: Service\nmetadata: {name: cart, annotations: {" +
                                   annotations + "}}\nspec: {ports: [{port: 80}], " + spec + "}\n")
        .ignored;
  };
  EXPECT_THAT(
      ignored("service.cilium.io/global: \"true\", service.cilium.io/affinity: local, note: x",
              "type: LoadBalancer, clusterIP: None, internalTrafficPolicy: Cluster, externalTrafficPolicy: Local, "
              "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 10800}}"),
      IsEmpty());
  EXPECT_THAT(ignored("service.cilium.io/src-ranges-policy: deny",
                      "internalTrafficPolicy: Local, loadBalancerSourceRanges: [10.0.0.0/8]"),
              IsEmpty());
  EXPECT_THAT(ignored("service.cilium.io/lb-algorithm: maglev, service.kubernetes.io/topology-mode: Auto",
                      "trafficDistribution: PreferClose, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}"),
              ElementsAre("annotation \"service.cilium.io/lb-algorithm\""));
}

TEST(Services, SayWhomTheyServeAndHowFarTheirPacketsGo) {
  const auto rules = [](const std::string& annotations, const std::string& spec) {
    return *read_one<ServiceObject>("apiVersion: v1\nkind: Service\nmetadata: {name: cart, annotations: {" +
                                    annotations + "}}\nspec: {ports: [{port: 80}]" + spec + "}\n")
                .rules;
  };
  const auto net = [](const char* text) { return *Prefix::parse(text); };
  EXPECT_EQ(rules("", ", internalTrafficPolicy: Cluster, externalTrafficPolicy: Cluster"), ServiceRules{});
  EXPECT_EQ(rules("", ", loadBalancerSourceRanges: [10.0.0.0/8, \"fd00::/8\"]"),
            (ServiceRules{{net("10.0.0.0/8"), net("fd00::/8")}, false, false, false}));
  EXPECT_EQ(rules("service.cilium.io/src-ranges-policy: Deny", ", loadBalancerSourceRanges: [10.0.0.0/8]"),
            (ServiceRules{{net("10.0.0.0/8")}, true, false, false}));
  EXPECT_EQ(rules("service.cilium.io/src-ranges-policy: deny", ""), ServiceRules{}) << "no ranges";
  EXPECT_EQ(rules("", ", internalTrafficPolicy: Local"), (ServiceRules{{}, false, true, false}));
  EXPECT_EQ(rules("", ", externalTrafficPolicy: Local"), (ServiceRules{{}, false, false, true}));
  EXPECT_EQ(rules("", ", trafficDistribution: PreferClose").distribution, TrafficDistribution::kZone);
  EXPECT_EQ(rules("", ", trafficDistribution: PreferSameZone").distribution, TrafficDistribution::kZone);
  EXPECT_EQ(rules("", ", trafficDistribution: PreferSameNode").distribution, TrafficDistribution::kNode);
  EXPECT_EQ(rules("service.kubernetes.io/topology-mode: Auto", "").distribution, TrafficDistribution::kHints);
  EXPECT_EQ(rules("service.kubernetes.io/topology-mode: Disabled", "").distribution, TrafficDistribution::kAny);
}

TEST(Services, WithAMistakeInWhomTheyServeAreRefused) {
  const auto errors = [](const std::string& spec) {
    return errors_of(
        parse_manifest("apiVersion: v1\nkind: Service\nmetadata: {name: cart}\n"
                       "spec: {ports: [{port: 80}], " +
                           spec + "}\n",
                       "east"));
  };
  EXPECT_THAT(errors("loadBalancerSourceRanges: [10.0.0.0/33]"),
              ElementsAre(HasSubstr("spec.loadBalancerSourceRanges[0]")));
  EXPECT_THAT(errors("internalTrafficPolicy: local"),
              ElementsAre(HasSubstr("spec.internalTrafficPolicy is \"local\"")));
  const Manifest odd = parse_manifest(
      "apiVersion: v1\nkind: Service\nmetadata: {name: cart, annotations: {service.cilium.io/src-ranges-policy: no}}\n"
      "spec: {ports: [{port: 80}], loadBalancerSourceRanges: [10.0.0.0/8]}\n",
      "east");
  EXPECT_THAT(errors_of(odd), ElementsAre(HasSubstr("it is read as allow")));
  EXPECT_FALSE(std::get<ServiceObject>(*objects_of(odd).at(0).value).rules->ranges_denied);
}

TEST(Slices, HaveKubernetesConditions) {
  const auto slice = read_one<SliceObject>(kSlice);
  EXPECT_EQ(slice.service, "cart");
  EXPECT_EQ(slice.weight, 0);
  EXPECT_THAT(slice.ports, ElementsAre(ServicePort{"http", IpProtocol::kTcp, L4Port{8080}}));
  ASSERT_EQ(slice.endpoints.size(), 3u);
  EXPECT_EQ(slice.endpoints[0], (SliceEndpoint{{ip("fd00:1::1")}, true, true, false, "", ""}));
  EXPECT_EQ(slice.endpoints[1], (SliceEndpoint{{ip("fd00:1::2")}, false, false, true, "", ""}));
  EXPECT_EQ(slice.endpoints[2], (SliceEndpoint{{ip("fd00:1::3")}, false, true, true, "n1", "z1"}));
}

TEST(Slices, SayWhoseClientsTheirEndpointsAreFor) {
  std::string text = kSlice;
  text += "  hints: {forZones: [{name: a}, {name: b}], forNodes: [{name: n2}]}\n";
  const auto slice = read_one<SliceObject>(text);
  EXPECT_THAT(*slice.endpoints[2].for_zones, ElementsAre("a", "b"));
  EXPECT_THAT(*slice.endpoints[2].for_nodes, ElementsAre("n2"));
  EXPECT_THAT(*slice.endpoints[1].for_zones, IsEmpty());
}

TEST(Slices, WithoutAServiceOrOfTypeFqdnAreIgnored) {
  for (const char* text :
       {"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: x}\naddressType: IPv4\n",
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: x, labels: "
        "{kubernetes.io/service-name: a}}\naddressType: FQDN\nendpoints: [{addresses: [a.b]}]\n"}) {
    const Manifest manifest = parse_manifest(text, "east");
    EXPECT_THAT(errors_of(manifest), IsEmpty());
    EXPECT_THAT(objects_of(manifest), IsEmpty());
    EXPECT_EQ(manifest.documents[0].document->ignored, 1u);
  }
}

TEST(Slices, AnInvalidWeightIsIgnoredWithAWarning) {
  std::string text = kSlice;
  text.replace(text.find("\"0\""), 3, "heavy");
  const Manifest manifest = parse_manifest(text, "east");
  EXPECT_THAT(errors_of(manifest), ElementsAre(HasSubstr("warning: annotation service.cilium.io/weight")));
  EXPECT_EQ(std::get<SliceObject>(*objects_of(manifest).at(0).value).weight, 100);
}

TEST(Workloads, APodHasAddressesAndANode) {
  const std::string head = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: shop, labels: {app: cart}}\n";
  const auto pod = read_one<PodObject>(head +
                                       "spec: {nodeName: n1, hostNetwork: true}\n"
                                       "status: {podIP: 10.1.0.5, podIPs: [{ip: 10.1.0.5}, {ip: \"fd00:1::5\"}]}\n");
  EXPECT_THAT(pod.addresses, ElementsAre(ip("10.1.0.5"), ip("fd00:1::5")));
  EXPECT_EQ(pod.node, "n1");
  EXPECT_TRUE(pod.host_network);
  EXPECT_EQ(pod.labels.at("app"), "cart");
  EXPECT_THAT(read_one<PodObject>(head + "status: {podIP: 10.1.0.6}\n").addresses, ElementsAre(ip("10.1.0.6")));
  EXPECT_THAT(read_one<PodObject>(head).addresses, IsEmpty());
  EXPECT_THAT(read_one<PodObject>(head + "status: {phase: Succeeded, podIP: 10.1.0.6}\n").addresses, IsEmpty());
}

TEST(Workloads, ACiliumEndpointHasItsIdentity) {
  const auto endpoint = read_one<CiliumEndpointObject>(R"(apiVersion: cilium.io/v2
kind: CiliumEndpoint
metadata: {name: p, namespace: shop}
status:
  identity: {id: 65793, labels: ["k8s:app=cart"]}
  networking:
    addressing: [{ipv4: 10.1.0.5, ipv6: "fd00:1::5"}]
    node: 192.0.2.10
)");
  EXPECT_EQ(endpoint.identity, Identity{65793});
  EXPECT_THAT(endpoint.addresses, ElementsAre(ip("10.1.0.5"), ip("fd00:1::5")));
  EXPECT_EQ(endpoint.node, ip("192.0.2.10"));
}

TEST(Workloads, ACiliumIdentityIsNamedByItsNumber) {
  const auto identity = read_one<IdentityObject>(
      "apiVersion: cilium.io/v2\nkind: CiliumIdentity\nmetadata: {name: \"65793\"}\nsecurity-labels: {\"k8s:app\": "
      "cart}\n");
  EXPECT_EQ(identity.id, Identity{65793});
  EXPECT_EQ(identity.labels.at("k8s:app"), "cart");
}

TEST(Workloads, NodesOfBothKindsHaveAddressesAndBlocks) {
  const auto node = read_one<NodeObject>(R"(apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDR: 10.1.1.0/24, podCIDRs: [10.1.1.0/24, "fd00:1:1::/64"]}
status: {addresses: [{type: Hostname, address: n1}, {type: ExternalIP, address: 198.51.100.1}, {type: InternalIP, address: 192.0.2.10}]}
)");
  EXPECT_THAT(node.addresses, ElementsAre(ip("192.0.2.10"), ip("198.51.100.1")));
  EXPECT_THAT(node.pod_prefixes, ElementsAre(prefix("10.1.1.0/24"), prefix("fd00:1:1::/64")));
  const auto cilium = read_one<NodeObject>(R"(apiVersion: cilium.io/v2
kind: CiliumNode
metadata: {name: n1}
spec:
  addresses: [{type: CiliumInternalIP, ip: 10.1.1.3}, {type: InternalIP, ip: 192.0.2.10}]
  ipam: {podCIDRs: [10.1.1.0/24]}
  health: {ipv4: 10.1.1.9, ipv6: "fd00:1:1::9"}
  ingress: {ipv4: 10.1.1.8}
)");
  EXPECT_THAT(cilium.addresses, ElementsAre(ip("192.0.2.10")))
      << "a CiliumInternalIP is not an address at which others reach the node";
  EXPECT_THAT(cilium.inner, ElementsAre(ip("10.1.1.3")));
  EXPECT_THAT(cilium.health, ElementsAre(ip("10.1.1.9"), ip("fd00:1:1::9")));
  EXPECT_THAT(*cilium.ingress, ElementsAre(ip("10.1.1.8")));
  EXPECT_THAT(cilium.pod_prefixes, ElementsAre(prefix("10.1.1.0/24")));
}

TEST(ServiceImports, HaveAddressesPortsAndACreationTime) {
  for (const char* version : {"v1alpha1", "v1beta1"}) {
    const auto import = read_one<ServiceImportObject>(std::string("apiVersion: multicluster.x-k8s.io/") + version + R"(
kind: ServiceImport
metadata: {name: cart, namespace: shop, creationTimestamp: 2026-03-02T12:00:00.5+02:00}
spec: {type: ClusterSetIP, ips: [10.200.0.10], ports: [{name: http, port: 80}]}
)");
    EXPECT_THAT(import.ips, ElementsAre(ip("10.200.0.10")));
    EXPECT_EQ(import.ports.size(), 1u);
    EXPECT_EQ(import.created, 1772445600);
  }
}

TEST(Manifests, AnInvalidDocumentDoesNotAffectTheOthers) {
  const Manifest manifest = parse_manifest(R"(# a file
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {a: b}}
---
apiVersion: v1
kind: Pod
metadata: {name: bad}
status: {podIP: nowhere}
---
this: [is, not, closed
---
apiVersion: v1
kind: Pod
metadata: {name: good}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: ignored}
)",
                                           "east");
  EXPECT_THAT(errors_of(manifest), ElementsAre(HasSubstr("9: status.podIP"), HasSubstr("11: not valid YAML")));
  const auto objects = objects_of(manifest);
  ASSERT_EQ(objects.size(), 2u);
  EXPECT_EQ(objects[0].key.object, (ObjectKey{ObjectKind::kNamespace, "east", "", "shop"}));
  EXPECT_EQ(objects[1].key.object, (ObjectKey{ObjectKind::kPod, "east", "default", "good"}));
  EXPECT_THAT(manifest.documents[1].document->invalid,
              ElementsAre(ManifestKey{{ObjectKind::kPod, "east", "default", "bad"}, false}));
  EXPECT_FALSE(manifest.documents[1].document->unreadable);
  EXPECT_TRUE(manifest.documents[2].document->unreadable);
  EXPECT_EQ(manifest.documents[4].document->ignored, 1u);
}

TEST(Manifests, ListsAndJsonAreRead) {
  const auto objects = objects_of(parse_manifest(R"({"apiVersion": "v1", "kind": "List", "items": [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}},
    {"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "b"}, "status": {"podIP": "10.1.0.1"}}]}]})",
                                                 "east"));
  ASSERT_EQ(objects.size(), 2u);
  EXPECT_EQ(objects[1].key.object, (ObjectKey{ObjectKind::kPod, "east", "default", "b"}));
  EXPECT_EQ(objects[1].line, 3u);
}

TEST(Manifests, AnUnchangedDocumentIsNotParsedAgain) {
  const std::string first = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\n";
  const std::string second = "apiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n";
  const Manifest before = parse_manifest(first + second, "east");
  const Manifest after = parse_manifest("# moved down\n\n---\n" + second, "east", &before);
  ASSERT_EQ(after.documents.size(), 1u);
  EXPECT_EQ(after.documents[0].document, before.documents[1].document);
  EXPECT_EQ(before.documents[1].first_line, 4u);
  EXPECT_EQ(after.documents[0].first_line, 3u);
  const Manifest changed = parse_manifest("---\n" + second + "spec: {}\n", "east", &after);
  EXPECT_NE(changed.documents[0].document, after.documents[0].document);
  const Manifest same_length = parse_manifest("apiVersion: v1\nkind: Namespace\nmetadata: {name: c}\n", "east", &after);
  EXPECT_EQ(objects_of(same_length).at(0).key.object.name, "c");
}

TEST(Manifests, AnUnsupportedKindIsIgnoredUnlessItMayBeATruncatedObject) {
  const Manifest deployment = parse_manifest("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n", "east");
  EXPECT_THAT(errors_of(deployment), IsEmpty());
  const Manifest tool = parse_manifest("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n", "east");
  EXPECT_THAT(errors_of(tool), IsEmpty());
  EXPECT_FALSE(tool.documents[0].document->unreadable);
  const Manifest half = parse_manifest("apiVersion: v1\nkind: Po", "east");
  EXPECT_THAT(errors_of(half), ElementsAre(HasSubstr("metadata.name is missing")));
  EXPECT_TRUE(half.documents[0].document->unreadable);
}

TEST(Manifests, OfConfigMapsOnlyTheAgentsConfigurationIsRead) {
  const auto config_map = [](const std::string& ns, const std::string& name, const std::string& data) {
    return parse_manifest("apiVersion: v1\nkind: ConfigMap\nmetadata: {namespace: " + ns + ", name: " + name +
                              "}\ndata: {" + data + "}\n",
                          "east");
  };
  const Manifest other = config_map("shop", "cilium-config", "policy-default-local-cluster: x");
  EXPECT_EQ(other.documents.at(0).document->ignored, 1U);
  EXPECT_THAT(errors_of(other), IsEmpty());
  const Manifest read = config_map("kube-system", "cilium-config", "policy-default-local-cluster: FALSE");
  ASSERT_EQ(read.documents.at(0).document->objects.size(), 1U);
  EXPECT_EQ(std::get<AgentConfigObject>(*read.documents[0].document->objects[0].value).default_local_cluster, false);
  const Manifest wrong = config_map("kube-system", "cilium-config", "policy-default-local-cluster: no");
  EXPECT_THAT(errors_of(wrong), ElementsAre(HasSubstr("data.policy-default-local-cluster is \"no\"; it is ignored")));
  EXPECT_EQ(wrong.documents.at(0).document->objects.size(), 1U);
}

}  // namespace
}  // namespace isthmus
