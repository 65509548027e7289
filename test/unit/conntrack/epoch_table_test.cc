#include "dataplane/conntrack/epoch_table.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <vector>

#include "test/unit/conntrack/flow_fixture.h"

namespace isthmus::flow_test {
namespace {

struct Words {
  std::vector<EpochTable::Word> words = std::vector<EpochTable::Word>(EpochTable::kWords);
  EpochTable table{words.data()};

  [[nodiscard]] DirectionBlock block_on(const std::vector<EpochIndex>& indexes) const {
    Dependencies on;
    table.begin(on);
    for (const EpochIndex index : indexes) {
      table.depend(on, index);
    }
    EXPECT_TRUE(table.is_current(on.index, on.sum));
    DirectionBlock block;
    on.write_to(block);
    return block;
  }
};

TEST(EpochTable, BlockIsValidUntilOneOfItsWordsChanges) {
  Words w;
  const std::array<EpochIndex, kEpochsPerBlock> indexes{EpochTable::of_endpoint(Realm{0}, address("10.1.0.1")),
                                                        EpochTable::of_endpoint(Realm{0}, address("10.2.0.1")),
                                                        EpochTable::of_service(ServiceId{3}),
                                                        EpochTable::of_policy_subject(Identity{4}),
                                                        EpochTable::of_peer(PeerId{5}),
                                                        EpochTable::of_own_peers()};
  for (const EpochIndex moved : indexes) {
    const DirectionBlock block = w.block_on({indexes.begin(), indexes.end()});
    EXPECT_TRUE(w.table.is_current(block));
    w.table.bump(moved);
    EXPECT_FALSE(w.table.is_current(block));
  }
}

TEST(EpochTable, OtherWordsDoNotInvalidateABlock) {
  Words w;
  const DirectionBlock block = w.block_on({EpochTable::of_peer(PeerId{1})});
  for (std::size_t i = 1; i < EpochTable::kWords; ++i) {
    if (i != EpochTable::of_peer(PeerId{1})) {
      w.table.bump(static_cast<EpochIndex>(i));
    }
  }
  EXPECT_TRUE(w.table.is_current(block));
}

TEST(EpochTable, BumpAllInvalidatesEvenABlockWithoutEpochs) {
  Words w;
  const DirectionBlock block = w.block_on({});
  EXPECT_TRUE(w.table.is_current(block));
  w.table.bump_all();
  EXPECT_FALSE(w.table.is_current(block));
}

TEST(EpochTable, IndexesCoverAllWordsExceptTheReservedOne) {
  std::set<EpochIndex> seen;
  for (std::uint32_t n = 0; n < 16 * EpochTable::kWords; ++n) {
    for (const EpochIndex i : {EpochTable::of_endpoint(Realm{0}, IpAddress::ipv4(Be32::of(0x0a000000 + n))),
                               EpochTable::of_service(ServiceId{n}), EpochTable::of_policy_subject(Identity{n}),
                               EpochTable::of_peer(PeerId{n}), EpochTable::of_own_peers()}) {
      ASSERT_GT(i, 0);
      ASSERT_LT(i, EpochTable::kWords);
      seen.insert(i);
    }
  }
  EXPECT_EQ(seen.size(), EpochTable::kWords - 1);
}

TEST(EpochTable, AnIndexTellsWhatItStandsFor) {
  for (std::uint32_t n = 0; n < EpochTable::kWords; ++n) {
    EXPECT_EQ(EpochTable::kind_of(EpochTable::of_endpoint(Realm{0}, IpAddress::ipv4(Be32::of(n)))),
              EpochKind::kAddress);
    EXPECT_EQ(EpochTable::kind_of(EpochTable::of_service(ServiceId{n})), EpochKind::kService);
    EXPECT_EQ(EpochTable::kind_of(EpochTable::of_policy_subject(Identity{n})), EpochKind::kPolicy);
    EXPECT_EQ(EpochTable::kind_of(EpochTable::of_peer(PeerId{n})), EpochKind::kPeer);
    EXPECT_EQ(EpochTable::kind_of(EpochTable::of_gateways(ClusterId{static_cast<std::uint16_t>(n)})), EpochKind::kPeer);
  }
  EXPECT_EQ(EpochTable::kind_of(EpochTable::of_own_peers()), EpochKind::kOwnPeers);
  EXPECT_EQ(EpochTable::kind_of(0), EpochKind::kNone);
}

TEST(EpochTable, ASampleTellsWhatHasMovedUnlessAWordHasGoneRound) {
  auto memory = std::make_unique<EpochTable::Word[]>(EpochTable::kWords);
  EpochTable table(memory.get());
  const EpochIndex service = EpochTable::of_service(ServiceId{1}), peer = EpochTable::of_peer(PeerId{1});
  const auto stamped = [&] {
    Dependencies on;
    table.begin(on);
    table.depend(on, service);
    table.depend(on, peer);
    DirectionBlock block;
    on.write_to(block);
    return block;
  };
  DirectionBlock block = stamped();
  EXPECT_TRUE(table.sample(block).known);
  EXPECT_EQ(table.sample(block).kinds, 0u);
  table.bump(peer);
  EpochSample now = table.sample(block);
  EXPECT_TRUE(now.known);
  EXPECT_EQ(now.kinds, EpochSample::bit(EpochKind::kPeer));
  EpochTable::stamp(block, now.sum, now.value.data());
  EXPECT_TRUE(table.is_current(block));
  EXPECT_EQ(table.sample(block).kinds, 0u);
  table.bump_all();
  now = table.sample(block);
  EXPECT_TRUE(now.known);
  EXPECT_TRUE(now.moved(EpochKind::kNone) && now.moved(EpochKind::kService) && now.moved(EpochKind::kPeer));
  block = stamped();
  for (std::uint32_t n = 0; n < 0x10000; ++n) {
    table.bump(service);
  }
  EXPECT_FALSE(table.is_current(block));
  EXPECT_FALSE(table.sample(block).known) << "its lower half is what it was";
}

TEST(EpochTable, EndpointsShareNoWordWithServicesSubjectsOrPeers) {
  std::set<EpochIndex> of_endpoints;
  for (std::uint32_t n = 0; n < 16 * EpochTable::kWords; ++n) {
    of_endpoints.insert(EpochTable::of_endpoint(Realm{0}, IpAddress::ipv4(Be32::of(0x0a000000 + n))));
  }
  EXPECT_GT(of_endpoints.size(), EpochTable::kWords / 2);
  for (std::uint32_t n = 0; n < EpochTable::kWords; ++n) {
    EXPECT_FALSE(of_endpoints.contains(EpochTable::of_service(ServiceId{n})));
    EXPECT_FALSE(of_endpoints.contains(EpochTable::of_policy_subject(Identity{n})));
    EXPECT_FALSE(of_endpoints.contains(EpochTable::of_peer(PeerId{n})));
  }
}

TEST(EpochTable, KindsAndRealmsUseDifferentWords) {
  const IpAddress a = address("10.1.0.1");
  EXPECT_NE(EpochTable::of_endpoint(Realm{0}, a), EpochTable::of_endpoint(Realm{1}, a));
  EXPECT_NE(EpochTable::of_service(ServiceId{9}), EpochTable::of_peer(PeerId{9}));
}

}  // namespace
}  // namespace isthmus::flow_test
