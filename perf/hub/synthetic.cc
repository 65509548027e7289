#include "perf/hub/synthetic.h"

namespace isthmus::perf {
namespace {

constexpr const char* kTime = "2026-01-01T00:00:00Z";
constexpr std::uint32_t kNewNodePods = 0x0a800000;

std::string text_of(std::uint64_t number) { return std::to_string(number); }
std::string address_text(std::uint32_t address) { return IpAddress::ipv4(Be32::of(address)).to_string(); }
std::string node_name(std::uint32_t node) { return "node-" + text_of(node); }
std::uint32_t node_address(std::uint32_t cluster, std::uint32_t node) { return 0xac100000 + cluster * 256 + node; }
std::string cache_key(const char* kind, std::uint32_t cluster) {
  return std::string("cilium/cache/") + kind + "/" + cluster_name(cluster) + "/";
}

KeyValue node_entry(std::uint32_t cluster, std::uint32_t node, std::uint32_t pods) {
  const std::string name = node_name(node);
  return {cache_key("nodes/v1", cluster) + name,
          R"({"Name":")" + name + R"(","Cluster":")" + cluster_name(cluster) +
              R"(","IPAddresses":[{"Type":"InternalIP","IP":")" + address_text(node_address(cluster, node)) +
              R"("}],"IPv4AllocCIDR":{"IP":")" + address_text(pods) +
              R"(","Mask":"////gA=="},"IPv4SecondaryAllocCIDRs":null,"IPv6AllocCIDR":null,)"
              R"("IPv6SecondaryAllocCIDRs":null,"IPv4HealthIP":"","IPv6HealthIP":"","IPv4IngressIP":"",)"
              R"("IPv6IngressIP":"","ClusterID":)" +
              text_of(cluster) +
              R"(,"Source":"custom-resource","EncryptionKey":0,"Labels":null,"Annotations":null,)"
              R"("WireguardPubKey":"","BootID":""})"};
}

KeyValue identity_entry(std::uint32_t cluster, std::uint32_t number) {
  const std::string name = text_of(number);
  return {cache_key("identities/v1", cluster) + "id/" + text_of(identity_of(cluster, number)),
          "k8s:app=app-" + name + ";k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=shop-" + name +
              ";k8s:io.cilium.k8s.policy.cluster=" + cluster_name(cluster) +
              ";k8s:io.cilium.k8s.policy.serviceaccount=default;k8s:io.kubernetes.pod.namespace=shop-" + name + ";"};
}

std::string service_value(std::uint32_t cluster, const std::string& ns, const std::string& name,
                          const std::string& frontends, const std::string& backends) {
  return R"({"cluster":")" + cluster_name(cluster) + R"(","namespace":")" + ns + R"(","name":")" + name +
         R"(","frontends":{)" + frontends + R"(},"backends":{)" + backends +
         R"(},"labels":{},"selector":{"app":"web"},"includeExternal":true,"shared":true,"clusterID":)" +
         text_of(cluster) + "}";
}

KeyValue service_entry(const SyntheticFleet& fleet, std::uint32_t cluster, std::uint32_t service,
                       std::uint32_t first_backend) {
  std::string backends;
  for (std::uint32_t n = 0; n < 3; ++n) {
    backends += (n == 0 ? "\"" : ",\"") + endpoint_address(cluster, (first_backend + n) % fleet.endpoints).to_string() +
                R"(":{"http":{"Protocol":"TCP","Port":8080}})";
  }
  const std::string name = service_name(service);
  return {cache_key("services/v1", cluster) + "shop/" + name,
          service_value(cluster, "shop", name,
                        "\"" + address_text(0xac640000 + service) + R"(":{"http":{"Protocol":"TCP","Port":80}})",
                        backends)};
}

KeyValue gateway_entry(std::uint32_t cluster) {
  return {cache_key("services/v1", cluster) + "kube-system/isthmus-gateway",
          service_value(cluster, "kube-system", "isthmus-gateway", "",
                        "\"" + gateway_address(cluster).to_string() + R"(":{"vxlan":{"Protocol":"UDP","Port":8472}})")};
}

}  // namespace

std::string cluster_name(std::uint32_t cluster) { return "cluster-" + text_of(cluster); }
std::uint32_t identity_of(std::uint32_t cluster, std::uint32_t number) { return (cluster << 16) + 256 + number; }
std::uint32_t base_of(std::uint32_t cluster) { return 0x0a000000 + (cluster << 14); }
std::string service_name(std::uint32_t service) { return "service-" + text_of(service); }

IpAddress endpoint_address(std::uint32_t cluster, std::uint32_t endpoint) {
  return IpAddress::ipv4(
      Be32::of(base_of(cluster) + endpoint / kEndpointsPerNode * 128 + 1 + endpoint % kEndpointsPerNode));
}

IpAddress gateway_address(std::uint32_t cluster) { return IpAddress::ipv4(Be32::of(0xc0000200 + cluster)); }

KeyValue endpoint_entry(std::uint32_t cluster, std::uint32_t endpoint, std::uint32_t identity) {
  const std::string address = endpoint_address(cluster, endpoint).to_string();
  return {cache_key("ip/v1", cluster) + address,
          R"({"IP":")" + address + R"(","Mask":null,"HostIP":")" +
              address_text(node_address(cluster, endpoint / kEndpointsPerNode)) + R"(","ID":)" + text_of(identity) +
              R"(,"Key":0,"Metadata":"","K8sNamespace":"shop-)" + text_of(endpoint % kIdentities) +
              R"(","K8sPodName":"app-5d8f6c9b7-)" + text_of(endpoint) + R"(","K8sServiceAccount":"default"})"};
}

KeyValue new_node_entry(const SyntheticFleet& fleet, std::uint32_t number) {
  constexpr std::uint32_t kFirst = 128;  // of the last addresses of a cluster's nodes
  const std::uint32_t cluster = 1 + number % fleet.clusters;
  return node_entry(cluster, kFirst + number / fleet.clusters % kNewNodes, kNewNodePods + number % 65536 * 128);
}

KeyValue changed_service_entry(const SyntheticFleet& fleet, std::uint32_t service, std::uint32_t first_backend) {
  return service_entry(fleet, service % fleet.clusters + 1, service, first_backend);
}

std::vector<KeyValue> cluster_entries(const SyntheticFleet& fleet, std::uint32_t cluster) {
  std::vector<KeyValue> entries;
  entries.push_back({"cilium/cluster-config/" + cluster_name(cluster),
                     R"({"id":)" + text_of(cluster) +
                         R"(,"capabilities":{"syncedCanaries":true,"cached":true,"maxConnectedClusters":255}})"});
  for (std::uint32_t n = 0; n < fleet.nodes(); ++n) {
    entries.push_back(node_entry(cluster, n, base_of(cluster) + n * 128));
  }
  for (std::uint32_t n = 0; n < kIdentities; ++n) {
    entries.push_back(identity_entry(cluster, n));
  }
  for (std::uint32_t n = 0; n < fleet.endpoints; ++n) {
    entries.push_back(endpoint_entry(cluster, n, identity_of(cluster, n % kIdentities)));
  }
  for (std::uint32_t s = 0; s < fleet.services; ++s) {
    if (s % fleet.clusters + 1 == cluster || (s + 1) % fleet.clusters + 1 == cluster) {
      entries.push_back(service_entry(fleet, cluster, s, s * 3));
    }
  }
  entries.push_back(gateway_entry(cluster));
  return entries;
}

std::vector<KeyValue> completion_marks(std::uint32_t cluster) {
  std::vector<KeyValue> marks;
  for (const char* part : {"nodes/v1", "identities/v1", "ip/v1", "services/v1"}) {
    marks.push_back({"cilium/synced/" + cluster_name(cluster) + "/cilium/cache/" + part, kTime});
  }
  return marks;
}

}  // namespace isthmus::perf
