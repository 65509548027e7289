// KeyTable against a std::map.
#include "control/source/etcd/key_table.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

namespace isthmus {
namespace {

TEST(KeyTableTest, BehavesLikeAMap) {
  KeyTable table;
  std::map<std::string, std::pair<std::uint64_t, std::uint8_t>> map;
  std::minstd_rand random(7);
  for (int i = 0; i < 100'000; ++i) {
    const std::string key = "10.51." + std::to_string(random() % 40) + "." + std::to_string(random() % 100);
    const KeyTable::Ref found = table.find(key);
    ASSERT_EQ(found != KeyTable::kNone, map.contains(key));
    if (random() % 3 == 0) {
      if (found != KeyTable::kNone) {
        table.erase(found);
        map.erase(key);
      }
      continue;
    }
    const KeyTable::Ref ref = table.find_or_add(key);
    const std::uint64_t hash = random();
    const auto flags = static_cast<std::uint8_t>(random() % 32);
    table.set_value_hash(ref, hash);
    table.set_flags(ref, flags);
    map[key] = {hash, flags};
    ASSERT_EQ(table.size(), map.size());
  }
  std::size_t seen = 0;
  table.each([&](KeyTable::Ref ref) {
    const auto entry = map.find(std::string(table.key(ref)));
    ASSERT_NE(entry, map.end());
    EXPECT_EQ(table.value_hash(ref), entry->second.first);
    EXPECT_EQ(table.flags(ref), entry->second.second);
    ++seen;
  });
  EXPECT_EQ(seen, map.size());
}

TEST(KeyTableTest, AMillionAddressesFitInsideSixtyMegabytes) {
  KeyTable table;
  for (int i = 0; i < 1'000'000; ++i) {
    table.find_or_add("10." + std::to_string(i >> 16) + "." + std::to_string((i >> 8) & 255) + "." +
                      std::to_string(i & 255));
  }
  RecordProperty("bytes_per_key", static_cast<int>(table.memory() / table.size()));
  EXPECT_LT(table.memory() / table.size(), 60U);
}

}  // namespace
}  // namespace isthmus
