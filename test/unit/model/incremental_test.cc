// A compiler that followed a series of random changes has the same tables as one that compiles only the final state.
#include <gtest/gtest.h>

#include <random>

#include "dataplane/api/identity.h"
#include "test/unit/model/fleet_builder.h"

namespace isthmus {
namespace {

using namespace fleet_test;

constexpr int kRounds = 60, kStepsPerRound = 12;

class Churn {
 public:
  explicit Churn(unsigned seed) : random_(seed) {}

  void step(Fleet3& f) {
    const std::string cluster = kClusters[pick(3)], n = std::to_string(index_of(cluster));
    const std::string service = "svc" + std::to_string(pick(4)), object = std::to_string(pick(6));
    // Unique per pod: which of two pods with one address is newer depends on history, which a fresh compiler does not
    // have. Creation times are unique for the same reason.
    const std::string address = "10." + n + ".0." + std::to_string(index_of(cluster)) + object;
    switch (pick(12)) {
      case 0:
      case 1:
        return put_service(f, cluster, service);
      case 2:
        return f.drop(ObjectKind::kService, cluster, "shop", service);
      case 3:
      case 4:
        return put_slice(f, cluster, service, n);
      case 5:
        return f.drop(ObjectKind::kSlice, cluster, "shop", service + "-1");
      case 6:
        return f.pod(cluster, "pod" + object, {address}, pick(8) == 0);
      case 7:
        return f.cilium_endpoint(cluster, "pod" + object, address, (index_of(cluster) << 16) + 256 + pick(4));
      case 8:
        return f.drop(pick(2) == 0 ? ObjectKind::kPod : ObjectKind::kCiliumEndpoint, cluster, "shop", "pod" + object);
      case 9:
        return pick(2) == 0 ? f.node(cluster, "n" + object, "192.0." + n + ".5" + object, pods_of_node(n))
                            : f.drop(ObjectKind::kNode, cluster, "", "n" + object);
      case 10:
        return f.import(cluster, "10.200.0." + std::to_string(pick(5)), service, created());
      default:
        return fleet_object(f);
    }
  }

  void set_random_reachability(Fleet3& f) {
    Reachability reachability;
    for (const auto& [id, peer] : f.peers) {
      if (peer.gateway && pick(4) == 0) {
        reachability.down_peers.push_back(id);
        if (pick(2) == 0) {
          reachability.ejected_clusters.push_back(peer.cluster);
        }
      }
    }
    for (const unsigned id : {1U, 2U, 3U}) {
      if (pick(4) == 0) {
        reachability.draining_clusters.push_back(ClusterId{static_cast<std::uint16_t>(id)});
      }
    }
    f.compiler->set_reachability(reachability);
    unreachable_.clear();
    for (const PeerId id : reachability.down_peers) {
      unreachable_.push_back(f.peers[id].underlay);
    }
    ejected_ = reachability.ejected_clusters;
    draining_ = reachability.draining_clusters;
  }
  // Applies the same reachability to another compiler, which has other peer ids.
  void repeat_reachability(Fleet3& f) const {
    Reachability reachability;
    for (const IpAddress& underlay : unreachable_) {
      if (const PeerId id = f.peer(underlay.to_string()); id != kNoPeer) {
        reachability.down_peers.push_back(id);
      }
    }
    reachability.ejected_clusters = ejected_;
    reachability.draining_clusters = draining_;
    f.compiler->set_reachability(reachability);
  }

 private:
  static constexpr const char* kClusters[] = {"east", "west", "north"};

  unsigned pick(unsigned below) { return static_cast<unsigned>(random_() % below); }
  std::int64_t created() { return 1 + static_cast<std::int64_t>(random_()) * 1000 + ++serial_ % 1000; }
  static unsigned index_of(const std::string& cluster) { return cluster == "east" ? 1 : cluster == "west" ? 2 : 3; }

  void put_service(Fleet3& f, const std::string& cluster, const std::string& name) {
    ServiceObject service = global_service();
    service.created = created();
    service.global = pick(5) != 0;
    service.shared = pick(5) != 0;
    service.affinity = static_cast<ServiceAffinity>(pick(3));
    if (pick(2) == 0) {
      service.claimed_vips = {ip("10.200.0." + std::to_string(pick(5)))};
    }
    f.service(cluster, service, name);
  }
  void put_slice(Fleet3& f, const std::string& cluster, const std::string& service, const std::string& n) {
    std::vector<EndpointSpec> pods;
    for (unsigned i = pick(4); i > 0; --i) {
      const std::string address = "10." + n + ".0." + std::to_string(pick(36) + 1);
      pods.push_back(pick(3) == 0 ? draining(address) : EndpointSpec{address});
    }
    f.slice(cluster, pods, static_cast<std::uint16_t>(8080 + pick(2)), service,
            static_cast<std::uint16_t>(pick(5) == 0 ? 0 : 100));
  }
  // Some nodes have none, and what they have overlaps that of others of their cluster.
  std::string pods_of_node(const std::string& n) {
    return pick(3) == 0 ? "10." + n + ".0." + std::to_string(8 * pick(5)) + "/29" : std::string();
  }
  void fleet_object(Fleet3& f) {
    switch (pick(7)) {
      case 6:  // our nodes are outside all prefixes, or no longer
        return pick(2) == 0 ? f.cluster("east", 1, {"10.1.0.0/16"})
                            : f.cluster("east", 1, {"10.1.0.0/16"}, {"192.0.1.0/24"});
      case 4:
        return f.cluster("west", 2, {}, {"192.0.2.0/24"});
      case 5:
        return pick(2) == 0 ? f.gateway("west-3", "west", "10.2.0.2" + std::to_string(pick(6)))
                            : f.drop(ObjectKind::kGateway, "", "", "west-3");
      case 0:
        return pick(2) == 0 ? f.profile({"east", "west"}) : f.profile({"east", "west", "north"});
      case 1:
        return pick(2) == 0 ? f.gateway("west-2", "west", "192.0.2.2") : f.drop(ObjectKind::kGateway, "", "", "west-2");
      case 2:
        return pick(2) == 0 ? f.drop(ObjectKind::kCluster, "", "", "north")
                            : f.cluster("north", 3, {"10.3.0.0/16"}, {"192.0.3.0/24"});
      default:
        return pick(2) == 0 ? f.cluster("west", 2, {"10.2.0.0/16"}, {"192.0.2.0/24"})
                            : f.cluster("west", 2, {"10.2.0.0/29"}, {"192.0.2.0/24"});
    }
  }

  std::mt19937 random_;
  std::int64_t serial_ = 0;
  std::vector<IpAddress> unreachable_;
  std::vector<ClusterId> ejected_, draining_;
};

// The numbers of local identities depend on history, their labels do not.
std::string identity_text(const Fleet3& f, Identity number) {
  const KnownIdentity* known = identity::is_local(number) ? f.compiler->policy().identities().find(number) : nullptr;
  return known == nullptr ? std::to_string(number.value()) : to_text(known->labels);
}

// The tables as text, without process-local ids.
std::string picture(const Fleet3& f) {
  std::string text;
  for (const auto& [key, entry] : f.frontends) {
    text += "frontend " + key.vip.to_string() + " " + f.compiler->service_name(entry.service) + ":";
    for (const BackendEntry& b : entry.backends->backends) {
      text +=
          " " + b.address.to_string() + ":" + std::to_string(b.port.value()) + "@" + std::to_string(b.cluster.value());
    }
    text += " ring";
    for (const std::uint16_t slot : entry.backends->ring) {
      text += " " + std::to_string(slot);
    }
    text += "\n";
  }
  for (const auto& [address, entry] : f.endpoints) {
    text += "endpoint " + address.to_string() + " " + identity_text(f, entry.identity) + "@" +
            std::to_string(entry.cluster.value()) + "\n";
  }
  for (const ClusterEntry& cluster : f.clusters) {
    text += "cluster " + std::to_string(cluster.id.value()) + (cluster.linked ? " linked" : "");
    std::set<std::string> gateways;
    for (const PeerId peer : cluster.gateways) {
      gateways.insert(f.peers.at(peer).underlay.to_string());
    }
    for (const auto& gateway : gateways) {
      text += " " + gateway;
    }
    for (const Prefix& prefix : cluster.prefixes) {
      text += " " + prefix.to_string();
    }
    text += "\n";
  }
  for (const auto* hosts : {&f.hosts.local, &f.hosts.fleet}) {
    text += "hosts";
    for (const Prefix& prefix : *hosts) {
      text += " " + prefix.to_string();
    }
    text += "\n";
  }
  std::set<std::string> peers;
  for (const auto& [id, peer] : f.peers) {
    peers.insert(peer.underlay.to_string() + "@" + std::to_string(peer.cluster.value()) +
                 (peer.gateway ? " gateway" : ""));
  }
  for (const auto& peer : peers) {
    text += "peer " + peer + "\n";
  }
  return text;
}

class Incremental : public testing::TestWithParam<unsigned> {};

TEST_P(Incremental, EqualsACompilationFromScratch) {
  Fleet3 followed;
  followed.compile();
  Churn churn(GetParam());
  for (int round = 0; round < kRounds; ++round) {
    for (int step = 0; step < kStepsPerRound; ++step) {
      churn.step(followed);
    }
    followed.compile();
    churn.set_random_reachability(followed);
    followed.compile();

    Fleet3 fresh;
    fresh.model = followed.model;
    fresh.compile();
    churn.repeat_reachability(fresh);
    fresh.compile();
    ASSERT_EQ(picture(followed), picture(fresh)) << "round " << round;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, Incremental, testing::Range(1U, 9U));

}  // namespace
}  // namespace isthmus
