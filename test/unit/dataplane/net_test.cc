#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "dataplane/net/address_hash.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {
namespace {

TEST(IpAddress, ParsesAndFormatsBothFamilies) {
  for (const char* text : {"10.1.2.3", "0.0.0.0", "255.255.255.255", "fd00::1", "::", "::1", "2001:db8::a:b"}) {
    const auto a = IpAddress::parse(text);
    ASSERT_TRUE(a) << text;
    EXPECT_EQ(a->to_string(), text);
  }
  for (const char* text : {"", "10.1.2", "10.1.2.3.4", "10.1.2.256", "fd00:::1", "fd00::1/64", "east"}) {
    EXPECT_FALSE(IpAddress::parse(text)) << text;
  }
}

TEST(IpAddress, AdjacentAddressesSpreadOverTheLowBitsOfTheirHash) {
  for (const char* base : {"10.1.0.0", "fd00:1::"}) {
    std::array<int, 256> buckets{};
    for (unsigned n = 0; n < 65536; ++n) {
      IpAddress::ByteArray bytes = IpAddress::parse(base)->bytes();
      bytes[14] = static_cast<std::uint8_t>(n >> 8);
      bytes[15] = static_cast<std::uint8_t>(n);
      ++buckets[address_hash(Realm{}, IpAddress(bytes)) % buckets.size()];
    }
    const auto [min, max] = std::minmax_element(buckets.begin(), buckets.end());
    EXPECT_GT(*min, 256 / 2) << base;
    EXPECT_LT(*max, 256 * 2) << base;
  }
}

// With fixed multipliers, addresses of this form all had one hash.
TEST(IpAddress, NobodyCanChooseAddressesWithOneHash) {
  std::set<std::uint64_t> hashes;
  for (std::uint32_t n = 0; n < 65'536; ++n) {
    std::uint8_t bytes[16] = {
        0xfd, 0,    0,    2,    0,    0,   static_cast<std::uint8_t>(n >> 8), static_cast<std::uint8_t>(n), 0x53, 0xec,
        0x85, 0x1a, 0xfe, 0xb9, 0xce, 0xc4};
    hashes.insert(address_hash(Realm{}, IpAddress::ipv6(bytes)));
  }
  EXPECT_EQ(hashes.size(), 65'536u);
}

TEST(Prefix, ContainsExactlyItsAddresses) {
  const Prefix p = *Prefix::parse("10.1.255.255/17");
  EXPECT_EQ(p.to_string(), "10.1.128.0/17");
  EXPECT_TRUE(p.contains(*IpAddress::parse("10.1.128.1")));
  EXPECT_FALSE(p.contains(*IpAddress::parse("10.1.127.255")));
  EXPECT_FALSE(p.contains(*IpAddress::parse("fd00::1")));
  EXPECT_EQ(p.last().to_string(), "10.1.255.255");
  EXPECT_TRUE(Prefix::parse("0.0.0.0/0")->contains(*IpAddress::parse("9.9.9.9")));
  EXPECT_FALSE(Prefix::parse("0.0.0.0/0")->contains(*IpAddress::parse("fd00::1")));
  for (const char* text :
       {"10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "fd00::/129", "x/8", "10.0.0.0/08", "0.0.0.0/00", "fd00::/048"}) {
    EXPECT_FALSE(Prefix::parse(text)) << text;
  }
}

TEST(MacAddress, ParsesAndFormats) {
  EXPECT_EQ(MacAddress::parse("02:0a:00:00:00:ff")->to_string(), "02:0a:00:00:00:ff");
  for (const char* text : {"", "02:0a:00:00:00", "02-0a-00-00-00-ff", "02:0a:00:00:00:fg", "02:0a:00:00:00:ff:"}) {
    EXPECT_FALSE(MacAddress::parse(text)) << text;
  }
}

TEST(Checksum, MatchesTheExampleOfRfc1071) {
  const std::uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  EXPECT_EQ(net::fold(net::partial_sum(bytes, 8)), Be16::of(0xddf2).wire());
}

TEST(Checksum, AnIncrementalUpdateEqualsRecomputing) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::array<std::uint8_t, 40> data{};
    for (auto& byte : data) {
      byte = static_cast<std::uint8_t>(random());
    }
    const Be16 before = Be16::raw(net::checksum(data.data(), data.size()));
    std::array<std::uint8_t, 16> change{};
    for (auto& byte : change) {
      byte = static_cast<std::uint8_t>(random());
    }
    const std::uint16_t delta = net::difference(data.data() + 8, change.data(), change.size());
    std::copy(change.begin(), change.end(), data.begin() + 8);
    const std::uint16_t recomputed = net::checksum(data.data(), data.size());
    const std::uint16_t patched = net::apply_difference(before, delta).wire();
    EXPECT_TRUE(patched == recomputed || (patched ^ recomputed) == 0xffff)
        << "equal, or the two representations of zero";
  }
}

}  // namespace
}  // namespace isthmus
