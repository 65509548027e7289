// Tables that follow any series of changes are those that are built of the same entries at once; those published before
// stay as they were.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "dataplane/publish/publisher.h"
#include "dataplane/tables/prefix_ranges.h"

namespace isthmus {
namespace {

using Random = std::mt19937;

std::uint32_t pick(Random& random, std::uint32_t below) {
  return std::uniform_int_distribution<std::uint32_t>(0, below - 1)(random);
}

// Addresses that differ in few places, so that prefixes of them nest and touch; of both families.
IpAddress some_address(Random& random) {
  constexpr std::array<std::uint8_t, 4> kBytes{0, 1, 0x80, 0xff};
  const bool ipv4 = pick(random, 3) != 0;
  IpAddress::ByteArray bytes = ipv4 ? IpAddress::ipv4(Be32{}).bytes() : IpAddress::ByteArray{};
  for (std::size_t i = ipv4 ? 12 : 0; i < bytes.size(); i += ipv4 ? 1 : 5) {
    bytes[i] = kBytes[pick(random, kBytes.size())];
  }
  return IpAddress(bytes);
}

Prefix some_prefix(Random& random) {
  const IpAddress address = some_address(random);
  return {address, static_cast<std::uint8_t>(pick(random, address.is_ipv4() ? 33 : 129))};
}

std::uint32_t longest(const std::map<Prefix, std::uint32_t>& of, const IpAddress& address) {
  std::uint32_t value = RangeMap::kMiss;
  int length = -1;
  for (const auto& [prefix, its] : of) {
    if (prefix.contains(address) && prefix.length128() > length) {
      length = prefix.length128();
      value = its;
    }
  }
  return value;
}

void expect_same(const RangeMap& map, const std::map<Prefix, std::uint32_t>& prefixes, Random& random) {
  const auto look = [&](const IpAddress& address) {
    ASSERT_EQ(map.find(Realm{3}, address), longest(prefixes, address)) << address.to_string();
    ASSERT_EQ(map.find(Realm{4}, address), RangeMap::kMiss) << address.to_string();
    ASSERT_EQ(map.find(Realm{2}, address), RangeMap::kMiss) << address.to_string();
  };
  for (const auto& [prefix, value] : prefixes) {
    look(prefix.address());
    look(prefix.last());
  }
  for (int i = 0; i < 20; ++i) {
    look(some_address(random));
  }
}

TEST(TableDeltas, PrefixesLeadToTheRangesThatAreBuiltOfThemAtOnce) {
  for (unsigned seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    PrefixRanges ranges(Realm{3});
    std::map<Prefix, std::uint32_t> model;
    // Many first, so that one more is a small change.
    for (std::uint32_t i = 0; i < (seed % 2 == 0 ? 200 : 3); ++i) {
      const Prefix prefix = some_prefix(random);
      ranges.set(prefix, model[prefix] = pick(random, 5));
    }
    std::shared_ptr<const RangeMap> before = ranges.map();
    std::map<Prefix, std::uint32_t> model_before = model;
    for (int step = 0; step < 30; ++step) {
      for (std::uint32_t n = 1 + pick(random, 3); n > 0; --n) {
        const Prefix prefix =
            model.empty() || pick(random, 2) == 0
                ? some_prefix(random)
                : std::next(model.begin(), pick(random, static_cast<std::uint32_t>(model.size())))->first;
        const std::uint32_t value = pick(random, 5);
        if (const auto at = model.find(prefix); at != model.end() && pick(random, 2) == 0) {
          ranges.erase(prefix, at->second + 1);  // another's value: nothing happens
          ranges.erase(prefix, at->second);
          model.erase(at);
        } else {
          ranges.set(prefix, model[prefix] = value);
        }
      }
      const std::shared_ptr<const RangeMap> now = ranges.map();
      ASSERT_NO_FATAL_FAILURE(expect_same(*now, model, random));
      ASSERT_NO_FATAL_FAILURE(expect_same(*before, model_before, random)) << "published before";
      std::vector<RangeMap::Item> items;
      for (const auto& [prefix, value] : model) {
        items.push_back({Realm{3}, prefix, value});
      }
      ASSERT_EQ(now->ranges(), RangeMap(items).ranges()) << "ranges without an end pile up";
      before = now;
      model_before = model;
    }
  }
}

TEST(TableDeltas, ManyPrefixesThatComeAndGoLeaveNoRanges) {
  PrefixRanges ranges(Realm{});
  const auto block = [](std::uint32_t n) { return Prefix(IpAddress::ipv4(Be32::of(0x0a000000u + (n << 8))), 24); };
  for (std::uint32_t n = 0; n < 4000; ++n) {
    ranges.set(block(n), n % 7);
  }
  const std::size_t before = ranges.map()->ranges();
  for (std::uint32_t n = 4001; n < 6000; ++n) {
    ranges.set(block(n), 8);
    ASSERT_EQ(ranges.map()->find(Realm{}, block(n).last()), 8u);
    ASSERT_EQ(ranges.map()->find(Realm{}, block(n % 4000).address()), n % 4000 % 7);
    ranges.erase(block(n), 8);
    ASSERT_EQ(ranges.map()->ranges(), before);
  }
}

// The fleet as an engine is told of it.
struct TableFleet {
  std::map<PeerId, PeerEntry> peers;
  std::map<ClusterId, ClusterEntry> clusters;
  std::map<FrontendKey, FrontendEntry> frontends;
  std::map<Prefix, Identity> cidrs;
  HostPrefixes hosts;
  std::vector<LocalRoute> routes;

  [[nodiscard]] std::vector<ClusterEntry> cluster_list() const {
    std::vector<ClusterEntry> list;
    for (const auto& [id, cluster] : clusters) {
      list.push_back(cluster);
    }
    return list;
  }
  [[nodiscard]] std::vector<CidrIdentity> cidr_list() const {
    std::vector<CidrIdentity> list;
    for (const auto& [prefix, identity] : cidrs) {
      list.push_back({prefix, identity});
    }
    return list;
  }
  [[nodiscard]] TableDelta whole() const {
    TableDelta delta;
    for (const auto& [id, peer] : peers) {
      delta.upsert_peers.push_back(peer);
    }
    for (const auto& [key, frontend] : frontends) {
      delta.upsert_frontends.push_back(frontend);
    }
    delta.clusters = cluster_list();
    delta.cidr_identities = cidr_list();
    delta.hosts = hosts;
    delta.local_routes = routes;
    return delta;
  }
};

// Takes random steps of the fleet, as deltas. No two peers have one address, and no two clusters one prefix.
class TableSteps {
 public:
  explicit TableSteps(unsigned seed) : random_(seed) {}

  TableDelta take(TableFleet& fleet) {
    TableDelta delta;
    for (std::uint32_t n = 1 + pick(random_, 4); n > 0; --n) {
      move_peer(fleet, delta);
    }
    std::set<ClusterId> changed;
    for (std::uint32_t n = pick(random_, 3); n > 0; --n) {
      changed.insert(move_cluster(fleet));
    }
    bool whole = pick(random_, 4) == 0;
    if (pick(random_, 6) == 0 && !fleet.clusters.empty()) {
      fleet.clusters.erase(
          std::next(fleet.clusters.begin(), pick(random_, static_cast<std::uint32_t>(fleet.clusters.size()))));
      whole = true;
    }
    if (whole) {
      delta.clusters = fleet.cluster_list();
    } else {
      for (const ClusterId id : changed) {
        delta.changed_clusters.push_back(fleet.clusters.at(id));
      }
    }
    move_cidrs(fleet, delta);
    move_frontend(fleet, delta);
    if (pick(random_, 4) == 0) {
      fleet.hosts = {{host(), host()}, {host()}};
      delta.hosts = fleet.hosts;
    }
    if (pick(random_, 4) == 0) {
      fleet.routes = {{host(), DeviceId{1}, kNoAdjacency, kNoPeer, pick(random_, 2) == 0}};
      delta.local_routes = fleet.routes;
    }
    return delta;
  }

 private:
  static IpAddress underlay(std::uint32_t n) { return IpAddress::ipv4(Be32::of(0xc0000200u + n)); }
  Prefix host() { return {IpAddress::ipv4(Be32::of(0x0b000000u + pick(random_, 8))), 32}; }
  ClusterId cluster() { return ClusterId{static_cast<std::uint16_t>(1 + pick(random_, 5))}; }

  void move_peer(TableFleet& fleet, TableDelta& delta) {
    const PeerId id{1 + pick(random_, 300)};
    if (std::any_of(delta.upsert_peers.begin(), delta.upsert_peers.end(), [&](const auto& p) { return p.id == id; }) ||
        std::find(delta.remove_peers.begin(), delta.remove_peers.end(), id) != delta.remove_peers.end()) {
      return;
    }
    if (fleet.peers.contains(id) && pick(random_, 3) == 0) {
      fleet.peers.erase(id);
      delta.remove_peers.push_back(id);
      return;
    }
    const IpAddress address = underlay(pick(random_, 400));
    if (std::any_of(fleet.peers.begin(), fleet.peers.end(),
                    [&](const auto& p) { return p.first != id && p.second.underlay == address; })) {
      return;
    }
    PeerEntry peer{id, cluster(), address, L4Port{8472}, AdjacencyId{}, pick(random_, 4) == 0};
    fleet.peers[id] = peer;
    delta.upsert_peers.push_back(peer);
  }

  ClusterId move_cluster(TableFleet& fleet) {
    const ClusterId id = cluster();
    ClusterEntry& entry = fleet.clusters[id];
    entry = {id, id == ClusterId{1}, pick(random_, 4) != 0, {}, {}};
    std::set<Prefix> prefixes;
    for (std::uint32_t n = pick(random_, 30); n > 0; --n) {
      const Prefix prefix(IpAddress::ipv4(Be32::of(0x0a000000u + (pick(random_, 64) << 8))), 24);
      if (std::none_of(fleet.clusters.begin(), fleet.clusters.end(), [&](const auto& other) {
            const auto& its = other.second.prefixes;
            return std::find(its.begin(), its.end(), prefix) != its.end();
          })) {
        prefixes.insert(prefix);
      }
    }
    entry.prefixes.assign(prefixes.begin(), prefixes.end());
    for (const auto& [peer, its] : fleet.peers) {
      if (its.gateway && pick(random_, 4) == 0) {
        entry.gateways.push_back(peer);
      }
    }
    return id;
  }

  void move_cidrs(TableFleet& fleet, TableDelta& delta) {
    const bool whole = pick(random_, 6) == 0;
    std::set<Prefix> done;
    for (std::uint32_t n = pick(random_, 3); n > 0; --n) {
      const Prefix prefix = some_prefix(random_);
      if (!done.insert(prefix).second) {
        continue;
      }
      if (fleet.cidrs.erase(prefix) != 0) {
        delta.remove_cidrs.push_back(prefix);
      } else {
        fleet.cidrs[prefix] = Identity{(1u << 24) + pick(random_, 9)};
        delta.upsert_cidrs.push_back({prefix, fleet.cidrs[prefix]});
      }
    }
    if (whole) {
      delta.cidr_identities = fleet.cidr_list();
      delta.upsert_cidrs.clear();
      delta.remove_cidrs.clear();
    }
  }

  void move_frontend(TableFleet& fleet, TableDelta& delta) {
    const FrontendKey key{Realm{}, IpAddress::ipv4(Be32::of(0x0ac80000u + pick(random_, 4))), IpProtocol::kTcp,
                          L4Port{static_cast<std::uint16_t>(80 + pick(random_, 2))}};
    if (fleet.frontends.erase(key) != 0) {
      delta.remove_frontends.push_back(key);
    } else {
      fleet.frontends[key] = {key, ServiceId{1}, false, Seconds{}, std::make_shared<const BackendSet>()};
      delta.upsert_frontends.push_back(fleet.frontends[key]);
    }
  }

  Random random_;
};

EngineOptions options() {
  EngineOptions options;
  options.cluster = ClusterId{1};
  options.keep_state = false;
  options.connections = 1024;
  options.half_open_limit = 1024;
  options.tunnel = tunnel_end(*IpAddress::parse("192.0.2.250"));
  options.translation_ipv4 = *IpAddress::parse("10.200.0.1");  // the address of a VIP too
  return options;
}

struct PublishedTables {
  PublishedTables() : shared(options(), 1), publisher(open()) {}
  Publisher open() {
    FlowTable::Options table;
    table.keep_state = false;
    table.connections = 1024;
    table.half_open_limit = 1024;
    auto flows = FlowTable::open(table, shared.quiescence);
    EXPECT_TRUE(flows.ok());
    shared.flows = std::move(*flows);
    return Publisher(shared);
  }
  SharedState shared;
  Publisher publisher;
};

void expect_equal(const Snapshot& a, const Snapshot& b, Random& random) {
  for (std::uint32_t id = 0; id < 330; ++id) {
    const PeerRecord &left = (*a.peers)[PeerId{id}], &right = (*b.peers)[PeerId{id}];
    ASSERT_EQ(left.known(), right.known()) << id;
    ASSERT_EQ(left.underlay, right.underlay) << id;
    ASSERT_EQ(left.cluster, right.cluster) << id;
    ASSERT_EQ(left.gateway, right.gateway) << id;
    ASSERT_EQ(left.header.bytes, right.header.bytes) << id;
  }
  for (std::uint32_t n = 0; n < 400; ++n) {
    const IpAddress address = IpAddress::ipv4(Be32::of(0xc0000200u + n));
    ASSERT_EQ(a.peers->find(address), b.peers->find(address)) << address.to_string();
  }
  for (std::uint16_t id = 0; id < 8; ++id) {
    const ClusterRecord &left = (*a.clusters)[ClusterId{id}], &right = (*b.clusters)[ClusterId{id}];
    ASSERT_EQ(left.local, right.local) << id;
    ASSERT_EQ(left.linked, right.linked) << id;
    ASSERT_EQ(left.gateways, right.gateways) << id;
    ASSERT_TRUE(std::equal(left.ring.begin(), left.ring.end(), right.ring.begin(), right.ring.end())) << id;
  }
  for (std::uint32_t n = 0; n < 64 * 4; ++n) {
    const IpAddress address = IpAddress::ipv4(Be32::of(0x0a000000u + (n << 6)));
    ASSERT_EQ(a.clusters->cluster_of(Realm{}, address), b.clusters->cluster_of(Realm{}, address));
  }
  for (int n = 0; n < 50; ++n) {
    const IpAddress address = some_address(random);
    ASSERT_EQ(a.policy->by_prefix(Realm{}, address, Identity{}), b.policy->by_prefix(Realm{}, address, Identity{}));
  }
}

TEST(TableDeltas, AFleetThatIsPublishedInStepsIsTheOneThatIsPublishedAtOnce) {
  for (unsigned seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    TableSteps steps(seed);
    Random random(seed);
    TableFleet fleet;
    PublishedTables kept;
    SteerRules steered = kept.publisher.steer_rules();
    static_cast<void>(kept.publisher.take_steer_change());
    for (int step = 0; step < 120; ++step) {
      SCOPED_TRACE("step " + std::to_string(step));
      const TableFleet was = fleet;
      const Snapshot* before = kept.publisher.current();
      // As a worker that is still at work with the tables before.
      const ReadSection section(kept.shared.quiescence, 0);
      const TableDelta delta = steps.take(fleet);
      ASSERT_TRUE(kept.publisher.apply(delta));
      kept.publisher.take_steer_change().apply_to(steered);
      if (step % 6 == 0) {
        PublishedTables anew;
        ASSERT_TRUE(anew.publisher.apply(fleet.whole()));
        ASSERT_NO_FATAL_FAILURE(expect_equal(*kept.publisher.current(), *anew.publisher.current(), random));
        ASSERT_EQ(kept.publisher.steer_rules(), anew.publisher.steer_rules());
        ASSERT_EQ(steered, kept.publisher.steer_rules());
        if (before != nullptr) {
          PublishedTables old;
          ASSERT_TRUE(old.publisher.apply(was.whole()));
          ASSERT_NO_FATAL_FAILURE(expect_equal(*before, *old.publisher.current(), random)) << "published before";
        }
      }
    }
  }
}

}  // namespace
}  // namespace isthmus
