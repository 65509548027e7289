// A device whose MAC or MTU changes while the engine runs.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "dataplane/tables/adjacency_table.h"
#include "test/support/path_rig.h"

namespace isthmus::test {
namespace {

TEST(AdjacencyTable, FollowsADevicesMacAndMtu) {
  Quiescence quiescence{1};
  AdjacencyTable table{quiescence, 8};
  const DeviceId device{1}, other{2};
  const MacAddress first{{2, 0, 0, 0, 0, 1}}, second{{0xfe, 3, 4, 5, 6, 0xff}}, neighbour{{2, 0xff, 0, 0, 0, 0xf9}};
  EXPECT_TRUE(table.set_device(device, first, Bytes{1500}));
  EXPECT_TRUE(table.set_device(other, first, Bytes{1500}));
  EXPECT_FALSE(table.set_device(device, first, Bytes{1500}));
  const AdjacencyId id = table.claim(device, *IpAddress::parse("10.0.0.1"));
  const AdjacencyId elsewhere = table.claim(other, *IpAddress::parse("10.0.0.1"));
  const AdjacencyId unresolved = table.claim(device, *IpAddress::parse("10.0.0.2"));
  table.set_mac(id, neighbour);
  table.set_mac(elsewhere, neighbour);
  EXPECT_TRUE(table.set_device(device, first, Bytes{1400}));
  EXPECT_EQ(table.mtu(device), Bytes{1400});
  EXPECT_TRUE(table.set_device(device, second, Bytes{1400}));
  EXPECT_FALSE(table.set_device(device, second, Bytes{1400}));
  std::array<std::uint8_t, 12> addresses{};
  const auto hold = [&](const MacAddress& destination, const MacAddress& source) {
    return std::equal(destination.bytes.begin(), destination.bytes.end(), addresses.begin()) &&
           std::equal(source.bytes.begin(), source.bytes.end(), addresses.begin() + 6);
  };
  ASSERT_TRUE(table.write_addresses(id, addresses.data()));
  EXPECT_TRUE(hold(neighbour, second));
  ASSERT_TRUE(table.write_addresses(elsewhere, addresses.data()));
  EXPECT_TRUE(hold(neighbour, first)) << "of another device";
  EXPECT_FALSE(table.write_addresses(unresolved, addresses.data()));
  table.set_mac(unresolved, neighbour);
  ASSERT_TRUE(table.write_addresses(unresolved, addresses.data()));
  EXPECT_TRUE(hold(neighbour, second));
}

TEST(PathMtu, ChangesWithTheDeviceForSettledConnectionsToo) {
  const Actors at;
  PathRig rig;
  const auto packet = [&] { return tcp(at.client, at.west).with_payload(1200).with_df(); };
  (void)rig.from_local(tcp(at.client, at.west));
  EXPECT_TRUE(rig.from_local(packet()).only().underlay);
  const std::uint64_t revalidations = rig.counters().revalidations;
  rig.underlay().set_mtu(Bytes{1100});
  static_cast<void>(rig.engine().check_devices());
  const Outcome too_big = rig.from_local(packet());
  EXPECT_EQ(too_big.only().packet.icmp_rest, 1050u);
  rig.underlay().set_mtu(Bytes{1500});
  static_cast<void>(rig.engine().check_devices());
  EXPECT_TRUE(rig.from_local(packet()).only().underlay);
  EXPECT_GT(rig.counters().revalidations, revalidations);
}

}  // namespace
}  // namespace isthmus::test
