#include "dataplane/api/maglev.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "dataplane/tables/maglev_hash.h"

namespace isthmus {
namespace {

using Hash128 = std::pair<std::uint64_t, std::uint64_t>;

MaglevBackend numbered(std::uint32_t n, std::uint16_t weight = kMaglevDefaultWeight) {
  return {IpAddress::ipv4(Be32::of(n)), L4Port{static_cast<std::uint16_t>(n)}, IpProtocol::kTcp, weight};
}

std::vector<std::size_t> slots_of(const MaglevRing& ring, std::size_t backends) {
  std::vector<std::size_t> count(backends);
  for (const auto index : ring) {
    ++count.at(index);
  }
  return count;
}

std::uint32_t packet_hash(const char* source, std::uint16_t source_port, std::uint16_t service_port,
                          IpProtocol protocol) {
  const auto address = IpAddress::parse(source).value();
  return maglev_packet_hash(address.family(), address, Be16::of(source_port), Be16::of(service_port), protocol);
}

TEST(Jhash, MatchesReferenceValues) {
  static_assert(jhash_3words(123, 234, 345, 456) == 2698615579U);
  static_assert(jhash_3words(0, 0, 0, 0) == 459859287U);
}

TEST(Murmur3, MatchesReferenceValues) {
  EXPECT_EQ(murmur3_128("hello world", 1234), Hash128(0x1629cce705a7069c, 0x316c1fbd953aaecd));
  EXPECT_EQ(murmur3_128("", 0), Hash128(0, 0));
  // 43 bytes: two whole blocks and a tail longer than 8 (published test vector of MurmurHash3_x64_128, seed 0).
  EXPECT_EQ(murmur3_128("The quick brown fox jumps over the lazy dog", 0),
            Hash128(0xe34bbc7bbc071b6c, 0x7a433ca9c49a9347));
}

TEST(MaglevPacketHash, MatchesReferenceValues) {
  struct Row {
    const char* source;
    std::uint16_t source_port, service_port;
    IpProtocol protocol;
    std::uint32_t hash;
  };
  // The first value was checked against Cilium; the others come from an independent model of Cilium's hash.
  for (const Row& row : {Row{"192.0.2.10", 40000, 80, IpProtocol::kTcp, 767456352},
                         Row{"10.1.2.3", 53124, 53, IpProtocol::kUdp, 2763913356},
                         Row{"2001:db8::10", 40000, 80, IpProtocol::kTcp, 2808273332},
                         Row{"fd00:1::a:1", 1, 65535, IpProtocol::kUdp, 1462509136}}) {
    EXPECT_EQ(packet_hash(row.source, row.source_port, row.service_port, row.protocol), row.hash) << row.source;
  }
  EXPECT_EQ(packet_hash("192.0.2.10", 40000, 80, IpProtocol::kTcp) % kMaglevSlots, 6502U);
}

TEST(MaglevBackendText, IsTheStringThatCiliumHashes) {
  const auto v6 = IpAddress::parse("fd00:1::a").value();
  EXPECT_EQ(maglev_backend_text(numbered(0x0a000001, 1)), "[10.0.0.1:1/TCP,State:active]");
  EXPECT_EQ(maglev_backend_text({v6, L4Port{53}, IpProtocol::kUdp}), "[[fd00:1::a]:53/UDP,State:active]");
}

TEST(MaglevRing, EqualsCiliumsRegressionVectorForWeightedBackends) {
  const std::array backends{numbered(1, 2), numbered(3, 13), numbered(4, 111), numbered(5, 10)};
  const auto ring = maglev_ring(backends, 251);
  std::string runs;  // backend, then the run length if more than one
  for (std::size_t i = 0, run = 0; i < ring.size(); i += run) {
    for (run = 1; i + run < ring.size() && ring[i + run] == ring[i]; ++run) {
    }
    runs += "ABCD"[ring[i]] + (run > 1 ? std::to_string(run) : "");
  }
  EXPECT_EQ(runs,
            "C5DC3BC2ACDCDCBC7BC14DCB2C12DC3BC4DC8DC2BC16B2C3DC11B2C4DC3BC4D"
            "CABC8BC7BC4DCDC9B2C5BC7DCDBC8BC4ACBC5DC3BC4DC3BC12ADC3DC4DC2BC7");
}

TEST(MaglevRing, DividesSlotsByWeight) {
  const std::array backends{numbered(1, 2), numbered(2, 13), numbered(3, 111), numbered(4, 10)};
  EXPECT_EQ(slots_of(maglev_ring(backends, 1021), 4), (std::vector<std::size_t>{16, 98, 832, 75}));
}

TEST(MaglevRing, DoesNotDependOnTheOrderOfBackends) {
  std::vector<MaglevBackend> backends;
  for (std::uint32_t n = 1; n <= 20; ++n) {
    backends.push_back(numbered(n, static_cast<std::uint16_t>(50 + n)));
  }
  const auto forward = maglev_ring(backends, 1021);
  std::reverse(backends.begin(), backends.end());
  auto backward = maglev_ring(backends, 1021);
  std::transform(backward.begin(), backward.end(), backward.begin(),
                 [](std::uint16_t i) { return static_cast<std::uint16_t>(19 - i); });
  EXPECT_EQ(forward, backward);
}

TEST(MaglevRing, LeavesOutBackendsOfWeightZero) {
  const std::array backends{numbered(1), numbered(2, 0), numbered(3)};
  EXPECT_EQ(slots_of(maglev_ring(backends, 251), 3)[1], 0U);
  EXPECT_EQ(maglev_ring(backends, 251).size(), 251U);
  EXPECT_TRUE(maglev_ring(std::array{numbered(1, 0)}, 251).empty());
  EXPECT_TRUE(maglev_ring({}, 251).empty());
  EXPECT_TRUE(maglev_ring(std::array{numbered(1)}, 1).empty());
}

TEST(MaglevRing, AcceptsMoreBackendsThanSlots) {
  std::vector<MaglevBackend> backends;
  for (std::uint32_t n = 1; n <= 300; ++n) {
    backends.push_back(numbered(n));
  }
  const auto count = slots_of(maglev_ring(backends, 251), backends.size());
  EXPECT_LE(*std::max_element(count.begin(), count.end()), 1U);
}

TEST(MaglevRing, MovesLittleElseWhenABackendLeaves) {
  std::vector<MaglevBackend> backends;
  for (std::uint32_t n = 1; n <= 50; ++n) {
    backends.push_back(numbered(0x0a010000 + n));
  }
  const auto before = maglev_ring(backends);
  backends.pop_back();
  const auto after = maglev_ring(backends);
  std::size_t moved = 0;
  for (std::size_t slot = 0; slot < before.size(); ++slot) {
    moved += before[slot] != 49 && before[slot] != after[slot] ? 1 : 0;
  }
  EXPECT_LT(moved, before.size() / 50) << "slots of the remaining backends must hardly move";
}

}  // namespace
}  // namespace isthmus
