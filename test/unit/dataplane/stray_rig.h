// The fleet of tests of ICMP errors about packets whose connection another gateway of the cluster has: with a node of
// each of two clusters, which may report of what was sent to others.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "dataplane/api/identity.h"
#include "test/support/path_rig.h"

namespace isthmus::test {

using Drops = std::map<std::string, std::uint64_t>;

const Actors at;
const IpAddress kWestRouter = Actors::ip("10.2.9.9"), kRouter = Actors::ip("10.1.9.9");
const IpAddress kWestRouter6 = Actors::ip("fd00:2::99"), kRouter6 = Actors::ip("fd00:1::99");
constexpr std::uint32_t kRemoteNode = 6;

const EndpointEntry kRouters[] = {{Realm{0}, kWestRouter, ClusterId{2}, Identity{kRemoteNode}, kNoPeer},
                                  {Realm{0}, kWestRouter6, ClusterId{2}, Identity{kRemoteNode}, kNoPeer},
                                  {Realm{0}, kRouter, ClusterId{1}, identity::kHost, kNoPeer},
                                  {Realm{0}, kRouter6, ClusterId{1}, identity::kHost, kNoPeer}};

struct StrayRig : PathRig {
  explicit StrayRig(const Options& options = {}) : PathRig(options) { engine().upsert_endpoints(kRouters); }
};

// From an address, to whoever has sent the packet.
inline PacketSpec too_big(const IpAddress& from, const PacketSpec& about) {
  const Dissected quoted = dissect(about.bytes());
  const bool v4 = from.is_ipv4();
  return icmp_error(from, quoted.source, v4 ? 3 : 2, v4 ? 4 : 0, about.ip_bytes()).with_mtu(1300);
}
inline PacketSpec from_west(PacketSpec spec) { return spec.in_tunnel(at.west_gateway, at.gateway, kRemoteNode); }

inline void expect_drop(const char* reason, const Outcome& outcome) {
  EXPECT_EQ(outcome.drops, (Drops{{reason, 1}})) << outcome.text();
  EXPECT_TRUE(outcome.out.empty()) << outcome.text();
}

}  // namespace isthmus::test
