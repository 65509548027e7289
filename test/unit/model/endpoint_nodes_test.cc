// At which node's tunnel each pod is of a cluster that has nodes with Geneve and no gateway, with services.dsr.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "test/unit/model/fleet_builder.h"

namespace isthmus {
namespace {

using namespace fleet_test;
using testing::Contains;
using testing::Each;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr const char* kVip = "10.200.0.10";
constexpr const char* kNode = "192.0.4.11";
constexpr const char* kOther = "192.0.4.12";
constexpr const char* kPod = "10.4.0.1";
constexpr std::uint32_t kIdentity = (4U << 16) + 5;

// South (4) is such a cluster, with nodes s1 and s2.
struct WithSouth : Fleet3 {
  explicit WithSouth(bool direct_return = true) {
    options.direct_return = direct_return;
    south(EncapsulationKind::kGeneve);
    profile({"east", "west", "north", "south"});
    node("south", "s1", kNode);
    node("south", "s2", kOther);
  }
  void south(EncapsulationKind kind) {
    put(ObjectKind::kCluster, "", "", "south",
        ClusterObject{ClusterId{4}, {net("10.4.0.0/16"), net("fd00:4::/48")}, {net("192.0.4.0/24")}, kind});
  }
  void entry(const std::string& address, const std::string& host, std::uint32_t identity = kIdentity,
             const std::string& cluster = "south") {
    std::optional<IpAddress> at;
    if (!host.empty()) {
      at = ip(host);
    }
    put(ObjectKind::kAddress, cluster, "", address,
        AddressObject{net(address), Identity{identity}, at, "shop", "a", {}});
  }
  void pod_at(const std::string& name, const std::vector<std::string>& addresses, const std::string& at) {
    PodObject object;
    for (const std::string& address : addresses) {
      object.addresses.push_back(ip(address));
    }
    object.node = at;
    put(ObjectKind::kPod, "south", "shop", name, object);
  }
  // The underlay address of the node of that endpoint's entry; "": it has none; "-": it is unknown.
  [[nodiscard]] std::string at(const std::string& address) const {
    const auto found = endpoints.find(ip(address));
    if (found == endpoints.end()) {
      return "-";
    }
    const PeerId id = found->second.node;
    return id == kNoPeer ? "" : peers.contains(id) ? peers.at(id).underlay.to_string() : "unknown peer";
  }
};

TEST(EndpointNodes, AreWhatAnyHubSaysOfThePod) {
  WithSouth f;
  f.entry(kPod, kNode);
  f.entry("fd00:4::1", kNode);
  f.pod_at("by-name", {"10.4.0.2", "fd00:4::2"}, "s2");
  f.pod_at("both", {"10.4.0.3"}, "s1");
  f.put(ObjectKind::kCiliumEndpoint, "south", "shop", "both",
        CiliumEndpointObject{{ip("10.4.0.3")}, Identity{kIdentity}, ip(kOther)});
  f.put(ObjectKind::kCiliumEndpoint, "south", "shop", "alone",
        CiliumEndpointObject{{ip("10.4.0.4")}, Identity{kIdentity}, ip(kNode)});
  f.compile();
  EXPECT_EQ(f.at(kPod), kNode);
  EXPECT_EQ(f.at("fd00:4::1"), kNode);
  EXPECT_EQ(f.at("10.4.0.2"), kOther);
  EXPECT_EQ(f.at("fd00:4::2"), kOther);
  EXPECT_EQ(f.at("10.4.0.3"), kOther) << "Cilium's word goes before the name";
  EXPECT_EQ(f.at("10.4.0.4"), kNode);
  EXPECT_THAT(f.problems, IsEmpty());
}

TEST(EndpointNodes, NodesNamedByAnAddressAreAtTheirOwn) {
  WithSouth f;
  f.node("south", "10.9.9.9", "192.0.4.13");
  f.pod_at("a", {kPod}, "10.9.9.9");
  f.compile();
  EXPECT_EQ(f.at(kPod), "192.0.4.13");
}

// Each row makes the node of kPod, at `host`, one that is not used.
TEST(EndpointNodes, AreOnlyAdmittedNodesWithGeneveOfThatCluster) {
  struct Row {
    const char* what;
    const char* host;
    std::function<void(WithSouth&)> make;
    const char* expected = "";
  };
  for (const Row& row : {
           Row{"as it should be", kNode, [](auto&) {}, kNode},
           Row{"not configured", kNode, [](auto& f) { f.options.direct_return = false; }},
           Row{"a cluster with VXLAN", kNode, [](auto& f) { f.south(EncapsulationKind::kVxlan); }},
           Row{"a cluster with native routing", kNode, [](auto& f) { f.south(EncapsulationKind::kNone); }},
           Row{"a cluster with a gateway", kNode, [](auto& f) { f.gateway("south-1", "south", "192.0.4.1"); }},
           Row{"its node is its gateway", kNode, [](auto& f) { f.gateway("south-1", "south", kNode); }},
           Row{"not linked", kNode,
               [](auto& f) {
                 f.profile({"east", "west", "north"});
               }},
           Row{"with aliases", kNode,
               [](auto& f) {
                 f.options.admission.aliases["south"] = {{net("fd00:4::/48"), net("fd00:44::/48")}};
               }},
           Row{"nothing is said", "", [](auto&) {}},
           Row{"no Node has the address", "192.0.4.99", [](auto&) {}},
           Row{"another cluster's node", "192.0.2.77", [](auto& f) { f.node("west", "w1", "192.0.2.77"); }},
           Row{"another cluster's gateway", "192.0.2.1", [](auto& f) { f.node("south", "s3", "192.0.2.1"); }},
           Row{"inside another cluster's prefixes", "10.2.0.9", [](auto& f) { f.node("south", "s3", "10.2.0.9"); }},
           Row{"our own address", "192.0.1.1", [](auto& f) { f.node("south", "s3", "192.0.1.1"); }},
           Row{"what this node needs", "192.0.9.1",
               [](auto& f) {
                 f.options.reserved = {{ip("192.0.9.1"), "an address of this node (eth1)"}};
                 f.node("south", "s3", "192.0.9.1");
               }},
           Row{"link-local", "169.254.1.1", [](auto& f) { f.node("south", "s3", "169.254.1.1"); }},
           Row{"loopback", "127.0.0.1", [](auto& f) { f.node("south", "s3", "127.0.0.1"); }},
           Row{"inside a VIP pool", "10.200.0.77", [](auto& f) { f.node("south", "s3", "10.200.0.77"); }},
           Row{"no route", kNode, [](auto& f) { f.unroutable = {ip(kNode)}; }},
           Row{"of another family than ours", "fd00:4::77", [](auto& f) { f.node("south", "s3", "fd00:4::77"); }},
       }) {
    SCOPED_TRACE(row.what);
    WithSouth f;
    f.entry(kPod, row.host);
    row.make(f);
    f.compile();
    EXPECT_EQ(f.at(kPod), row.expected);
  }
}

TEST(EndpointNodes, AreNotOfNodesThemselvesNorOfOurOwnPods) {
  WithSouth f;
  f.options.own_node_tunnels = true;
  f.node("east", "e1", "192.0.1.50");
  f.entry("10.4.0.9", kNode, 6);
  f.entry("10.1.0.9", "192.0.1.50", (1U << 16) + 5, "east");
  f.compile();
  EXPECT_EQ(f.at(kNode), "");
  EXPECT_EQ(f.at("10.4.0.9"), "") << "an address of a node inside its pods' prefix";
  EXPECT_EQ(f.at("10.1.0.9"), "");
}

TEST(EndpointNodes, FollowTheirNodes) {
  WithSouth f;
  f.drop(ObjectKind::kNode, "south", "", "s1");
  f.pod_at("a", {kPod}, "s1");
  f.entry("10.4.0.2", kNode);
  f.entry("10.4.0.3", kOther);
  f.compile();
  EXPECT_EQ(f.at(kPod), "");
  EXPECT_EQ(f.at("10.4.0.2"), "");
  f.node("south", "s1", kNode);
  EXPECT_EQ(f.compile().upsert.size(), 2u + 1u) << "its two pods and itself";
  EXPECT_EQ(f.at(kPod), kNode);
  EXPECT_EQ(f.at("10.4.0.2"), kNode);

  f.node("south", "s1", "192.0.4.13");
  f.compile();
  EXPECT_EQ(f.at(kPod), "192.0.4.13") << "by its name";
  EXPECT_EQ(f.at("10.4.0.2"), "") << "by an address that is nobody's now";

  f.pod_at("a", {kPod}, "s2");
  EXPECT_EQ(f.compile().upsert.size(), 1u);
  EXPECT_EQ(f.at(kPod), kOther);

  f.drop(ObjectKind::kNode, "south", "", "s2");
  f.compile();
  EXPECT_EQ(f.at(kPod), "");
  EXPECT_EQ(f.at("10.4.0.3"), "");
  f.drop(ObjectKind::kPod, "south", "shop", "a");
  f.compile();
  EXPECT_EQ(f.at(kPod), "-");
}

TEST(EndpointNodes, FollowGatewaysLinksRoutesAndAdmission) {
  WithSouth f;
  f.entry(kPod, kNode);
  f.compile();
  EXPECT_EQ(f.at(kPod), kNode);
  const auto turns = [&](const char* what, const std::function<void()>& off, const std::function<void()>& on) {
    SCOPED_TRACE(what);
    off();
    f.compile();
    EXPECT_EQ(f.at(kPod), "");
    on();
    f.compile();
    EXPECT_EQ(f.at(kPod), kNode);
  };
  turns(
      "gateway", [&] { f.gateway("south-1", "south", "192.0.4.1"); },
      [&] { f.drop(ObjectKind::kGateway, "", "", "south-1"); });
  turns(
      "link",
      [&] {
        f.profile({"east", "west", "north"});
      },
      [&] {
        f.profile({"east", "west", "north", "south"});
      });
  turns(
      "encapsulation", [&] { f.south(EncapsulationKind::kVxlan); }, [&] { f.south(EncapsulationKind::kGeneve); });
  turns(
      "route",
      [&] {
        f.unroutable = {ip(kNode)};
        f.compiler->refresh_next_hops();
      },
      [&] {
        f.unroutable.clear();
        f.compiler->refresh_next_hops();
      });
  turns(
      "reserved",
      [&] {
        (void)f.compiler->set_reserved({{ip(kNode), "an address of this node (eth1)"}});
      },
      [&] { (void)f.compiler->set_reserved({}); });
}

struct Service : WithSouth {
  Service() {
    service("east", global_service({kVip}));
    service("south", global_service());
    slice("south", {{kPod}, {"10.4.0.2"}});
    entry(kPod, kNode);
    entry("10.4.0.2", kOther);
    compile();
  }
};

TEST(EndpointNodes, MakeBackendsUsable) {
  Service f;
  EXPECT_EQ(f.backends(kVip), "10.4.0.1:8080* 10.4.0.2:8080*");
  EXPECT_THAT(f.problems, IsEmpty()) << "no gateway is missed";
  f.drop(ObjectKind::kNode, "south", "", "s2");
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.4.0.1:8080* 10.4.0.2:8080");
  EXPECT_EQ(f.compiler->services()[0].ports[0].backends[1].state, BackendState::kUnreachable);
  EXPECT_THAT(f.problem_texts(),
              Contains(HasSubstr("1 pods of cluster south are at node 192.0.4.12, to which no tunnel")));
  f.drop(ObjectKind::kAddress, "south", "", kPod);
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.4.0.1:8080 10.4.0.2:8080") << "a pod that is not published";
  f.node("south", "s2", kOther);
  f.entry(kPod, kOther);
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.4.0.1:8080* 10.4.0.2:8080*");
  EXPECT_THAT(f.problems, IsEmpty());
  f.gateway("south-1", "south", "192.0.4.1");
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.4.0.1:8080* 10.4.0.2:8080*") << "by the gateway";
  f.compiler->set_reachability({{f.peer("192.0.4.1")}, {}, {}});
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.4.0.1:8080 10.4.0.2:8080") << "a gateway is not stood in for by nodes";
}

TEST(EndpointNodes, AreNoWayForSctp) {
  WithSouth f;
  ServiceObject both = global_service({kVip});
  both.ports.push_back({"sctp", IpProtocol::kSctp, L4Port{81}});
  f.service("east", both);
  f.service("south", both);
  SliceObject slice;
  slice.service = "cart";
  slice.ports = {http(8080), {"sctp", IpProtocol::kSctp, L4Port{8081}}};
  slice.endpoints.emplace_back().addresses = {ip(kPod)};
  f.put(ObjectKind::kSlice, "south", "shop", "cart-1", slice);
  f.entry(kPod, kNode);
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.4.0.1:8080*");
  const auto sctp = f.frontends.find({Realm{}, ip(kVip), IpProtocol::kSctp, L4Port{81}});
  ASSERT_NE(sctp, f.frontends.end());
  EXPECT_EQ(f.text_of(*sctp->second.backends), "10.4.0.1:8081");
}

TEST(EndpointNodes, ClustersWithoutGatewaysAreReportedAsBefore) {
  WithSouth f(false);
  f.service("east", global_service({kVip}));
  f.service("south", global_service());
  f.slice("south", {{kPod}});
  f.entry(kPod, kNode);
  f.compile();
  EXPECT_EQ(f.backends(kVip), "10.4.0.1:8080");
  EXPECT_THAT(f.problem_texts(), Contains(HasSubstr("cluster south has no usable gateway")));
  EXPECT_THAT(f.problem_texts(), Each(Not(HasSubstr("services.dsr"))));
}

// After any series of changes the tables are those of a compiler that begins with the same objects.
class EndpointChanges : public WithSouth {
 public:
  explicit EndpointChanges(unsigned seed) : random_(seed) {
    service("east", global_service({kVip}));
    service("south", global_service());
    slice("south", {{address(0)}, {address(1)}, {address(2)}, {address(3)}});
  }

  void step() {
    const std::string n = std::to_string(pick(4)), node_name = "s" + n;
    switch (pick(8)) {
      case 0:
        return drop(ObjectKind::kNode, "south", "", node_name);
      case 1:
      case 2:
        return node("south", node_name, "192.0.4.2" + std::to_string(pick(5)));
      case 3:
        return pick(3) == 0 ? gateway("south-1", "south", "192.0.4.2" + std::to_string(pick(5)))
                            : drop(ObjectKind::kGateway, "", "", "south-1");
      case 4:
        return drop(ObjectKind::kAddress, "south", "", address(pick(4)));
      case 5:
        return drop(ObjectKind::kPod, "south", "shop", n);
      case 6:
        return pod_at(n, {address(4 + static_cast<unsigned>(std::stoul(n)))}, "s" + std::to_string(pick(5)));
      default:
        return entry(address(pick(4)), pick(4) == 0 ? "" : "192.0.4.2" + std::to_string(pick(5)));
    }
  }

  unsigned pick(unsigned below) { return std::uniform_int_distribution<unsigned>(0, below - 1)(random_); }
  static std::string address(unsigned n) { return "10.4.0." + std::to_string(n + 1); }

  // Of a compiler, what the engine has.
  [[nodiscard]] std::string tables() const {
    std::string text = backends(kVip);
    for (const auto& [address, entry] : endpoints) {
      text +=
          "\n" + address.to_string() + " " + std::to_string(entry.identity.value()) + " at " + at(address.to_string());
    }
    return text;
  }

 private:
  std::mt19937 random_;
};

TEST(EndpointNodes, AreAfterAnyChangesThoseOfAFreshStart) {
  std::set<std::string> seen;
  for (unsigned seed = 0; seed < 60; ++seed) {
    EndpointChanges f(seed);
    for (unsigned step = 0; step < 60; ++step) {
      SCOPED_TRACE("seed " + std::to_string(seed) + ", step " + std::to_string(step));
      for (unsigned changes = 1 + f.pick(3); changes > 0; --changes) {
        f.step();
      }
      f.compile();
      Compiler fresh(f.options, f.model, [](const IpAddress&) { return AdjacencyId{7}; });
      EndpointChanges other(0);
      const CompileResult all = fresh.compile({});
      other.endpoints.clear();
      for (const PeerEntry& peer : all.delta.upsert_peers) {
        other.peers[peer.id] = peer;
      }
      for (const EndpointEntry& endpoint : all.upsert) {
        other.endpoints[endpoint.address] = endpoint;
      }
      for (const FrontendEntry& frontend : all.delta.upsert_frontends) {
        other.frontends[frontend.key] = frontend;
      }
      ASSERT_EQ(f.tables(), other.tables());
      seen.insert(f.backends(kVip));
    }
  }
  EXPECT_EQ(seen.size(), 16u) << "each of the four with and without a node";
}

}  // namespace
}  // namespace isthmus
