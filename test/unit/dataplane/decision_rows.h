// Rows of a packet, what comes out, and every counter that changes, after what has happened before it on this gateway.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/api/identity.h"
#include "dataplane/api/maglev.h"
#include "test/support/path_rig.h"
#include "test/unit/dataplane/policy_builder.h"

namespace isthmus::test::rows {

using Counts = std::map<std::string, std::uint64_t>;

inline const Actors at;
inline constexpr PeerId kNode{9};  // a node of our own cluster
inline const IpAddress kNodeAddress = Actors::ip("192.0.2.50");
inline const Endpoint kStranger{Actors::ip("10.2.0.77"), 5000};  // of west, not published
inline const Endpoint kOtherBackend{Actors::ip("10.2.0.99"), 9000};
inline constexpr std::uint8_t kSynAck = kSyn | kAck;

inline PacketSpec from_west(PacketSpec p, const IpAddress& gateway = at.west_gateway,
                            std::uint32_t vni = kWestIdentity) {
  return p.in_tunnel(gateway, at.gateway, vni);
}
inline PacketSpec from_node(PacketSpec p) { return p.in_tunnel(kNodeAddress, at.gateway, kClientIdentity); }

// Counters of the engine that packets move, without bytes.
inline Counts counts_of(const EngineCounters& c) {
  Counts counts{{"rx", c.rx_packets},
                {"tx", c.tx_packets},
                {"encapsulated", c.encapsulated},
                {"decapsulated", c.decapsulated},
                {"hits", c.hits},
                {"misses", c.misses},
                {"created", c.connections.created},
                {"revalidations", c.revalidations},
                {"icmp", c.icmp_sent},
                {"echo", c.echo_answered},
                {"waiting", c.neighbour_waits},
                {"audited", c.policy_audited}};
  for (const DropCount& drop : c.drops) {
    counts["drop " + std::string(drop.name)] = drop.packets;
  }
  return counts;
}

// What most packets count besides.
inline Counts local(Counts more) {
  more["rx"] = 1;
  return more;
}
inline Counts tunnelled(Counts more) {
  more["rx"] = more["decapsulated"] = 1;
  return more;
}
inline Counts to_fabric(Counts more) {
  more["tx"] = more["encapsulated"] = 1;
  return more;
}
inline Counts to_local(Counts more) {
  more["tx"] = 1;
  return more;
}

inline void publish(PathRig& rig, const TableDelta& delta) { ASSERT_TRUE(rig.engine().publish(delta).ok()); }
inline void publish(PathRig& rig, const PolicyDelta& delta) { publish(rig, delta.delta); }
inline void send(PathRig& rig, bool underlay, const PacketSpec& packet) {
  const Outcome outcome = underlay ? rig.from_underlay(packet) : rig.from_local(packet);
  ASSERT_EQ(outcome.out.size(), 1u) << outcome.text();
}
inline void endpoint(PathRig& rig, const IpAddress& address, std::uint16_t cluster, std::uint32_t identity) {
  const EndpointEntry entry{Realm{0}, address, ClusterId{cluster}, Identity{identity}, kNoPeer};
  rig.engine().upsert_endpoints({&entry, 1});
}
// Invalidates every decision and changes nothing.
inline void invalidate_all(PathRig& rig) {
  TableDelta delta;
  delta.policy_defaults = PolicyDefaults{};
  publish(rig, delta);
}
inline FrontendEntry entry_of(const Endpoint& vip, IpProtocol protocol, std::uint32_t service,
                              const std::vector<BackendEntry>& backends) {
  auto set = std::make_shared<BackendSet>();
  set->backends.assign(backends.begin(), backends.end());
  std::vector<MaglevBackend> ends;
  for (const BackendEntry& b : backends) {
    ends.push_back({b.address, b.port, protocol, 100});
  }
  set->ring = maglev_ring(ends);
  FrontendEntry entry;
  entry.key = {Realm{0}, vip.address, protocol, L4Port{vip.port}};
  entry.service = ServiceId{service};
  entry.backends = std::move(set);
  return entry;
}
inline void publish(PathRig& rig, const FrontendEntry& entry) {
  TableDelta delta;
  delta.upsert_frontends.push_back(entry);
  publish(rig, delta);
}
inline void frontend(PathRig& rig, const Endpoint& vip, IpProtocol protocol, std::uint32_t service,
                     const std::vector<BackendEntry>& backends) {
  publish(rig, entry_of(vip, protocol, service, backends));
}
inline void node(PathRig& rig, std::uint16_t cluster = 1) {
  TableDelta delta;
  delta.upsert_peers = {{kNode, ClusterId{cluster}, kNodeAddress, L4Port{8472}, AdjacencyId{1}, false}};
  publish(rig, delta);
}
inline void allow_only_icmp_type(PathRig& rig, std::uint32_t subject, std::uint8_t type) {
  PolicyDelta policy;
  policy.ingress(subject, enforced({allow(0, 1, type, type)}));
  publish(rig, policy);
}

struct Row {
  const char* description;
  std::function<void(PathRig&)> before;
  bool underlay;
  PacketSpec packet;
  std::string out;  // Dissected::text(), "": dropped
  Counts counts;
  std::uint32_t hold = 10;  // seconds
};

inline std::string sent(const Endpoint& from, const Endpoint& to, unsigned protocol = 6) {
  return from.address.to_string() + ":" + std::to_string(from.port) + " > " + to.address.to_string() + ":" +
         std::to_string(to.port) + " proto " + std::to_string(protocol);
}
inline std::string tunnel(const std::string& inner, std::uint32_t vni, const IpAddress& to = at.west_gateway) {
  return inner + " vni " + std::to_string(vni) + " via " + at.gateway.to_string() + " > " + to.to_string();
}
inline void nothing(PathRig&) {}

// Each packet has its outcome, and moves only its counters.
inline void run_rows(const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    SCOPED_TRACE(row.description);
    PathRig::Options options;
    options.engine.unknown_endpoint_hold = Seconds{row.hold};
    PathRig rig(options);
    row.before(rig);
    const Counts before = counts_of(rig.counters());
    const Outcome outcome = row.underlay ? rig.from_underlay(row.packet) : rig.from_local(row.packet);
    const std::string out = outcome.out.empty() ? "" : outcome.out.front().packet.text();
    EXPECT_EQ(out, row.out) << row.packet.scapy();
    Counts changed;
    for (const auto& [name, value] : counts_of(rig.counters())) {
      if (value != before.at(name)) {
        changed[name] = value - before.at(name);
      }
    }
    EXPECT_EQ(changed, row.counts);
  }
}

}  // namespace isthmus::test::rows
