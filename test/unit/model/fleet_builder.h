// A fleet of three linked clusters, for tests of the model and the compiler: east (1, ours) with gateways east-1 (this
// one) and east-2; west (2) and north (3) with one gateway each. Cluster n has pods 10.n.0.0/16 and fd00:n::/48 and
// nodes 192.0.n.0/24; gateway k is at 192.0.n.k.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "control/compile/compiler.h"
#include "control/model/model.h"

namespace isthmus::fleet_test {

inline IpAddress ip(const std::string& text) { return IpAddress::parse(text).value(); }
inline Prefix net(const std::string& text) { return Prefix::parse(text).value(); }

struct EndpointSpec {
  std::string address;
  bool ready = true, serving = true, terminating = false;
  std::string node{};
};
inline EndpointSpec draining(std::string address) { return {std::move(address), false, true, true}; }
inline EndpointSpec unready(std::string address) { return {std::move(address), false, false, false}; }
inline EndpointSpec dying(std::string address) { return {std::move(address), false, false, true}; }

inline ServicePort http(std::uint16_t number) { return {"http", IpProtocol::kTcp, L4Port{number}}; }

inline ServiceObject global_service(std::vector<std::string> vips = {}) {
  ServiceObject service;
  service.global = true;
  service.ports = {http(80)};
  for (const std::string& vip : vips) {
    service.claimed_vips.push_back(ip(vip));
  }
  return service;
}

class Fleet3 {
 public:
  Fleet3() {
    options.cluster = "east";
    options.gateway = "east-1";
    options.ring_slots = 251;
    options.admission.node_ranges = {*Prefix::parse("192.0.0.0/16"), *Prefix::parse("10.0.0.0/8")};
    options.admission.vip_pools = {*Prefix::parse("10.200.0.0/24"), *Prefix::parse("fd00:ff::/64")};
    for (const auto& [name, id] : std::map<std::string, std::uint16_t>{{"east", 1}, {"west", 2}, {"north", 3}}) {
      const std::string n = std::to_string(id);
      cluster(name, id, {"10." + n + ".0.0/16", "fd00:" + n + "::/48"}, {"192.0." + n + ".0/24"});
      gateway(name + "-1", name, "192.0." + n + ".1");
    }
    gateway("east-2", "east", "192.0.1.2");
    profile({"east", "west", "north"});
  }

  void put(ObjectKind kind, const std::string& cluster, const std::string& ns, const std::string& name,
           ObjectValue value, Model::SourceNumber source = 0) {
    const std::string location = (cluster.empty() ? "fleet" : cluster) + "/" + name + ".yaml";
    model.apply(source, {{kind, cluster, ns, name}, std::move(value), {location, 1}});
  }
  void drop(ObjectKind kind, const std::string& cluster, const std::string& ns, const std::string& name,
            Model::SourceNumber source = 0) {
    model.apply(source, {{kind, cluster, ns, name}, std::nullopt, {}});
  }

  void cluster(const std::string& name, std::uint16_t id, const std::vector<std::string>& pods,
               const std::vector<std::string>& nodes = {}) {
    ClusterObject object{ClusterId{id}, {}, {}};
    for (const auto& prefix : pods) {
      object.pod_prefixes.push_back(net(prefix));
    }
    for (const auto& prefix : nodes) {
      object.node_prefixes.push_back(net(prefix));
    }
    put(ObjectKind::kCluster, "", "", name, object);
  }
  void gateway(const std::string& name, const std::string& cluster, const std::string& underlay) {
    put(ObjectKind::kGateway, "", "", name, GatewayObject{cluster, ip(underlay)});
  }
  void profile(const std::vector<std::string>& members, const std::string& name = "fleet",
               unsigned max_clusters = 255) {
    put(ObjectKind::kProfile, "", "", name, ProfileObject{members, max_clusters});
  }
  void service(const std::string& cluster, const ServiceObject& object, const std::string& name = "cart") {
    put(ObjectKind::kService, cluster, "shop", name, object);
  }
  void import(const std::string& cluster, const std::string& vip, const std::string& name = "cart",
              std::int64_t created = 0) {
    put(ObjectKind::kServiceImport, cluster, "shop", name, ServiceImportObject{{ip(vip)}, {}, created});
  }
  // The only EndpointSlice of a service in a cluster.
  void slice(const std::string& cluster, const std::vector<EndpointSpec>& pods, std::uint16_t port = 8080,
             const std::string& name = "cart", std::uint16_t weight = 100) {
    SliceObject object;
    object.service = name;
    object.ports = {http(port)};
    object.weight = weight;
    for (const EndpointSpec& e : pods) {
      SliceEndpoint endpoint;
      endpoint.addresses = {ip(e.address)};
      endpoint.ready = e.ready;
      endpoint.serving = e.serving;
      endpoint.terminating = e.terminating;
      endpoint.node = e.node;
      object.endpoints.push_back(endpoint);
    }
    put(ObjectKind::kSlice, cluster, "shop", name + "-1", object);
  }
  void pod(const std::string& cluster, const std::string& name, const std::vector<std::string>& addresses,
           bool host_network = false) {
    PodObject object;
    for (const auto& address : addresses) {
      object.addresses.push_back(ip(address));
    }
    object.host_network = host_network;
    object.node = "node-1";
    put(ObjectKind::kPod, cluster, "shop", name, object);
  }
  void cilium_endpoint(const std::string& cluster, const std::string& name, const std::string& address,
                       std::uint32_t identity) {
    put(ObjectKind::kCiliumEndpoint, cluster, "shop", name,
        CiliumEndpointObject{{ip(address)}, Identity{identity}, std::nullopt});
  }
  void address(const std::string& cluster, const std::string& text, std::uint32_t identity,
               const std::string& pod = "a") {
    put(ObjectKind::kAddress, cluster, "", text,
        AddressObject{net(text), Identity{identity}, ip("192.0.2.50"), "shop", pod, {}});
  }
  void node(const std::string& cluster, const std::string& name, const std::string& address,
            const std::string& pods = {}) {
    NodeObject object{{ip(address)}, {}};
    if (!pods.empty()) {
      object.pod_prefixes.push_back(net(pods));
    }
    put(ObjectKind::kNode, cluster, "", name, object);
  }

  CompileResult compile() {
    if (!compiler) {
      compiler = std::make_unique<Compiler>(options, model, [this](const IpAddress& underlay) {
        asked.push_back(underlay);
        return unroutable.count(underlay) != 0 ? kNoAdjacency : AdjacencyId{7};
      });
    }
    CompileResult result = compiler->compile(model.take_changes());
    for (const FrontendKey& key : result.delta.remove_frontends) {
      frontends.erase(key);
    }
    for (const FrontendEntry& entry : result.delta.upsert_frontends) {
      frontends[entry.key] = entry;
    }
    for (const IpAddress& address : result.remove) {
      endpoints.erase(address);
    }
    for (const EndpointEntry& entry : result.upsert) {
      endpoints[entry.address] = entry;
    }
    for (const PeerId id : result.delta.remove_peers) {
      peers.erase(id);
    }
    for (const PeerEntry& entry : result.delta.upsert_peers) {
      peers[entry.id] = entry;
    }
    if (result.delta.clusters) {
      clusters = *result.delta.clusters;
    }
    for (const ClusterEntry& entry : result.delta.changed_clusters) {
      *std::find_if(clusters.begin(), clusters.end(), [&](const ClusterEntry& c) { return c.id == entry.id; }) = entry;
    }
    if (result.delta.hosts) {
      hosts = *result.delta.hosts;
    }
    problems = result.problems;
    return result;
  }

  // The accessors below read the tables as an engine has them after all deltas so far.
  [[nodiscard]] const FrontendEntry* frontend(const std::string& vip, std::uint16_t port = 80) const {
    const auto it = frontends.find({Realm{}, ip(vip), IpProtocol::kTcp, L4Port{port}});
    return it == frontends.end() ? nullptr : &it->second;
  }
  // "10.1.0.1:8080*" per backend, sorted; a star marks those with slots in the ring. "-": no such frontend.
  [[nodiscard]] std::string backends(const std::string& vip, std::uint16_t port = 80) const {
    const FrontendEntry* entry = frontend(vip, port);
    return entry == nullptr ? "-" : text_of(*entry->backends);
  }
  // The same of what clients of other clusters get. "-": no such frontend, or as all clients.
  [[nodiscard]] std::string backends_from_fabric(const std::string& vip) const {
    const FrontendEntry* entry = frontend(vip);
    return entry == nullptr || entry->from_fabric == nullptr ? "-" : text_of(*entry->from_fabric);
  }
  [[nodiscard]] static std::string text_of(const BackendSet& set) {
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < set.backends.size(); ++i) {
      const BackendEntry& b = set.backends[i];
      const auto& ring = set.ring;
      const bool chosen = std::find(ring.begin(), ring.end(), i) != ring.end();
      texts.push_back(b.address.to_string() + ":" + std::to_string(b.port.value()) + (chosen ? "*" : ""));
    }
    std::sort(texts.begin(), texts.end());
    std::string all;
    for (const auto& text : texts) {
      all += (all.empty() ? "" : " ") + text;
    }
    return all;
  }
  [[nodiscard]] BackendId backend_id(const std::string& vip, const std::string& address) const {
    for (const BackendEntry& b : frontend(vip)->backends->backends) {
      if (b.address == ip(address)) {
        return b.id;
      }
    }
    return BackendId{};
  }
  [[nodiscard]] PeerId peer(const std::string& underlay) const {
    for (const auto& [id, entry] : peers) {
      if (entry.underlay == ip(underlay)) {
        return id;
      }
    }
    return kNoPeer;
  }
  [[nodiscard]] const ClusterEntry* cluster_entry(std::uint16_t id) const {
    for (const ClusterEntry& entry : clusters) {
      if (entry.id == ClusterId{id}) {
        return &entry;
      }
    }
    return nullptr;
  }
  // Problems as text, for matchers.
  [[nodiscard]] std::vector<std::string> problem_texts() const {
    std::vector<std::string> texts;
    for (const Problem& problem : problems) {
      texts.push_back(problem.text());
    }
    return texts;
  }

  Model model;
  CompilerOptions options;
  std::unique_ptr<Compiler> compiler;
  std::vector<IpAddress> asked;  // underlay addresses whose next hop was resolved
  std::set<IpAddress> unroutable;
  std::map<FrontendKey, FrontendEntry> frontends;
  std::map<IpAddress, EndpointEntry> endpoints;
  std::map<PeerId, PeerEntry> peers;
  std::vector<ClusterEntry> clusters;
  HostPrefixes hosts;
  std::vector<Problem> problems;
};

}  // namespace isthmus::fleet_test
