#include "dataplane/packet/flow_key.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <set>

#include "test/unit/conntrack/flow_fixture.h"

namespace isthmus::flow_test {
namespace {

TEST(FlowKey, ReversedSwapsBothEndsAndKeepsTheRest) {
  FlowKey k = key("10.1.0.1", 4000, "fd00::2", 80, IpProtocol::kUdp);
  k.realm = Realm{7};
  const FlowKey r = k.reversed();
  EXPECT_EQ(r.source(), k.destination());
  EXPECT_EQ(r.destination(), k.source());
  EXPECT_EQ(r.source_port.host(), 80);
  EXPECT_EQ(r.destination_port.host(), 4000);
  EXPECT_EQ(r.protocol, IpProtocol::kUdp);
  EXPECT_EQ(r.realm, Realm{7});
  EXPECT_EQ(r.reversed(), k);
}

TEST(FlowKey, EchoReplyIsTheReverseOfItsRequest) {
  const FlowKey request = key("10.1.0.1", 0x1234, "10.2.0.1", 0, IpProtocol::kIcmp);
  const FlowKey reply = key("10.2.0.1", 0, "10.1.0.1", 0x1234, IpProtocol::kIcmp);
  EXPECT_EQ(request.reversed(), reply);
}

TEST(FlowKey, EveryFieldAffectsComparisonAndHash) {
  const FlowHasher hash(1);
  const FlowKey base = key("10.1.0.1", 4000, "10.2.0.1", 80);
  std::array<FlowKey, 6> others{base, base, base, base, base, base};
  others[0].set_source(address("10.1.0.2"));
  others[1].set_destination(address("10.2.0.2"));
  others[2].source_port = Be16::of(4001);
  others[3].destination_port = Be16::of(81);
  others[4].protocol = IpProtocol::kUdp;
  others[5].realm = Realm{1};
  for (const FlowKey& other : others) {
    EXPECT_NE(other, base);
    EXPECT_NE(hash(other), hash(base));
  }
}

TEST(FlowHasher, DifferentSecretsGiveDifferentHashes) {
  const FlowKey k = key("10.1.0.1", 4000, "10.2.0.1", 80);
  EXPECT_NE(FlowHasher(1)(k), FlowHasher(2)(k));
  EXPECT_EQ(FlowHasher(1)(k), FlowHasher(1)(k));
  EXPECT_NE(FlowHasher::random()(k), FlowHasher::random()(k));
}

// Flipping one bit of the key flips about half of the 64 bits of the hash.
void expect_avalanche(Family family) {
  const FlowHasher hash(99);
  const unsigned bytes_used = family == Family::kIpv4 ? 16 : sizeof(FlowKey);
  double lowest = 64, highest = 0;
  for (unsigned bit = 0; bit < bytes_used * 8; ++bit) {
    if (bit / 8 == offsetof(FlowKey, family)) {
      continue;
    }
    double flipped = 0;
    constexpr unsigned kKeys = 64;
    for (unsigned n = 0; n < kKeys; ++n) {
      FlowKey a = numbered(n * 977);
      if (family == Family::kIpv6) {
        a.set_source(address("fd00:1::10"));
        a.set_destination(address("fd00:2::10"));
      }
      std::array<std::uint8_t, sizeof a> bytes;
      std::memcpy(bytes.data(), &a, sizeof a);
      bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] ^ (1u << (bit % 8)));
      FlowKey b;
      std::memcpy(&b, bytes.data(), sizeof b);
      flipped += std::popcount(hash(a) ^ hash(b));
    }
    lowest = std::min(lowest, flipped / kKeys);
    highest = std::max(highest, flipped / kKeys);
  }
  EXPECT_GT(lowest, 27);
  EXPECT_LT(highest, 37);
}

TEST(FlowHasher, EveryBitOfAnIpv4KeyFlipsHalfOfTheHash) { expect_avalanche(Family::kIpv4); }
TEST(FlowHasher, EveryBitOfAnIpv6KeyFlipsHalfOfTheHash) { expect_avalanche(Family::kIpv6); }

TEST(FlowKey, BothFamiliesKeepTheirAddresses) {
  for (const auto& [source, destination] :
       {std::pair{"10.1.0.1", "10.2.0.9"}, std::pair{"fd00:1::10", "2001:db8::7"}}) {
    const FlowKey made(address(source), address(destination), Be16::of(1), Be16::of(2), IpProtocol::kUdp, Realm{3});
    EXPECT_EQ(made.source(), address(source));
    EXPECT_EQ(made.destination(), address(destination));
    FlowKey set;
    set.set_destination(address(destination));
    set.set_source(address(source));
    EXPECT_EQ(set.source(), address(source));
    EXPECT_EQ(set.destination(), address(destination));
    EXPECT_EQ(set.family, address(source).family());
  }
}

TEST(FlowKey, KeysOfDifferentFamiliesWithEqualWordsDiffer) {
  FlowKey v4 = key("10.1.0.1", 1, "10.2.0.1", 2);
  FlowKey v6 = v4;
  v6.family = Family::kIpv6;
  EXPECT_NE(v4, v6);
}

TEST(SymmetricHash, IsEqualForBothDirectionsOnly) {
  std::set<std::uint32_t> values;
  for (std::uint32_t n = 0; n < 1000; ++n) {
    EXPECT_EQ(symmetric_hash(numbered(n)), symmetric_hash(numbered(n).reversed()));
    values.insert(symmetric_hash(numbered(n)));
  }
  EXPECT_GT(values.size(), 995u);
  // With only the ports swapped it is another connection.
  EXPECT_NE(symmetric_hash(key("10.1.0.1", 1, "10.2.0.1", 2)), symmetric_hash(key("10.1.0.1", 2, "10.2.0.1", 1)));
}

// Gateways of different versions must agree on the owner of a connection.
TEST(SymmetricHash, ValuesAreFixedForTheFleet) {
  EXPECT_EQ(symmetric_hash(key("10.1.0.1", 4000, "10.2.0.1", 80)), 2363507694u);
  EXPECT_EQ(symmetric_hash(key("fd00:1::1", 4000, "fd00:2::1", 80, IpProtocol::kUdp)), 2061228859u);
  EXPECT_EQ(symmetric_hash(key("10.1.0.1", 0x1234, "10.2.0.1", 0, IpProtocol::kIcmp)), 3039880226u);
}

}  // namespace
}  // namespace isthmus::flow_test
