#include "control/restore/member_quotas.h"

#include <gtest/gtest.h>

#include <random>

#include "control/restore/object_size.h"

namespace isthmus {
namespace {

class MemberQuotasTest : public ::testing::Test {
 protected:
  static ObjectDelta address(const std::string& cluster, int n, std::size_t pod_name = 1) {
    const std::string at = "10.2.0." + std::to_string(n);
    return {{ObjectKind::kAddress, cluster, {}, at},
            AddressObject{*Prefix::parse(at), Identity{300}, {}, "shop", std::string(pod_name, 'p'), {}},
            {}};
  }
  static ObjectDelta slice(const std::string& cluster, const std::string& name) {
    return {{ObjectKind::kSlice, cluster, "shop", name}, SliceObject{"cart", {}, {}}, {}};
  }
  static ObjectDelta gateway(const std::string& cluster, const std::string& name, const char* at = "192.0.2.1") {
    return {{ObjectKind::kGateway, {}, {}, name}, GatewayObject{cluster, *IpAddress::parse(at), L4Port{8472}}, {}};
  }
  static ObjectDelta profile(ProfileObject::Member west) {
    return {{ObjectKind::kProfile, {}, {}, "mesh"}, ProfileObject{{"east", "west"}, 255, {}, {{"west", west}}}, {}};
  }
  static ObjectDelta gone(ObjectDelta delta) {
    delta.value.reset();
    return delta;
  }
  bool has(const ObjectDelta& delta) const { return model_.version_of(0, delta.key) != nullptr; }
  std::string problem() const { return quotas_.problems().empty() ? "" : quotas_.problems().front().what; }

  Model model_;
  MemberQuotas quotas_{{2, 1, 1, 2}, "east", model_};
};

TEST_F(MemberQuotasTest, WhatStandsStaysAndTheNextIsLeftOutByName) {
  EXPECT_TRUE(quotas_.apply(0, address("west", 1)));
  EXPECT_TRUE(quotas_.apply(0, address("west", 3)));
  EXPECT_FALSE(quotas_.apply(0, address("west", 2)));
  EXPECT_TRUE(has(address("west", 1)) && has(address("west", 3)) && !has(address("west", 2)));
  EXPECT_EQ(problem(),
            "1 objects of cluster west are left out, first address 10.2.0.2: of it are used 2 of 2 endpoints, 0 of 1 "
            "services and slices, 0 of 2 gateways, 0 of 1 MiB");
  EXPECT_TRUE(quotas_.apply(0, address("west", 1, 20))) << "a new version of what stands";
  EXPECT_TRUE(quotas_.apply(0, slice("west", "a"))) << "of another kind";
  EXPECT_FALSE(quotas_.apply(0, slice("west", "b")));
  EXPECT_TRUE(quotas_.apply(0, address("north", 2))) << "of another member";
}

TEST_F(MemberQuotasTest, OurOwnClusterIsNotLimited) {
  for (int n = 1; n < 10; ++n) {
    EXPECT_TRUE(quotas_.apply(0, address("east", n)));
  }
  EXPECT_EQ(problem(), "");
}

TEST_F(MemberQuotasTest, WhatWaitsComesInWhenThereIsRoom) {
  for (int n = 1; n <= 5; ++n) {
    quotas_.apply(0, address("west", n));
  }
  EXPECT_TRUE(quotas_.admit_waiting(0).empty());
  quotas_.apply(0, gone(address("west", 3)));  // waited
  quotas_.apply(0, gone(address("west", 1)));
  EXPECT_TRUE(quotas_.admit_waiting(1).empty()) << "another hub's";
  const auto admitted = quotas_.admit_waiting(0);
  ASSERT_EQ(admitted.size(), 1U);
  EXPECT_EQ(admitted[0].key.name, "10.2.0.4");
  EXPECT_TRUE(has(address("west", 4)) && !has(address("west", 3)));
  quotas_.apply(0, gone(address("west", 5)));
  EXPECT_EQ(problem(), "");
}

TEST_F(MemberQuotasTest, AVersionThatIsTooLargeLeavesTheOneBefore) {
  EXPECT_TRUE(quotas_.apply(0, address("west", 1, 1000)));
  EXPECT_FALSE(quotas_.apply(0, address("west", 1, 2 << 20)));
  EXPECT_EQ(std::get<AddressObject>(*model_.version_of(0, address("west", 1).key)).pod.size(), 1000U);
  EXPECT_NE(problem(), "");
  EXPECT_TRUE(quotas_.apply(0, address("west", 1, 10)));
  EXPECT_EQ(problem(), "");
}

TEST_F(MemberQuotasTest, WhatIsTooLargeToWaitIsCounted) {
  EXPECT_FALSE(quotas_.apply(0, address("west", 1, 2 << 20)));
  EXPECT_NE(problem().find("1 of them can come in after a restart only"), std::string::npos) << problem();
}

TEST_F(MemberQuotasTest, AProfileSaysItForAMember) {
  for (int n = 1; n <= 5; ++n) {
    quotas_.apply(0, address("west", n));
  }
  quotas_.apply(1, profile({{}, {}, 4, {}, {}}));
  quotas_.read_profiles();
  EXPECT_EQ(quotas_.admit_waiting(0).size(), 2U);
  EXPECT_NE(problem().find("4 of 4 endpoints, 0 of 1 services"), std::string::npos) << problem();
  quotas_.apply(1, profile({{}, {}, 0, {}, {}}));
  quotas_.read_profiles();
  EXPECT_TRUE(has(address("west", 1))) << "what stands stays";
}

TEST_F(MemberQuotasTest, RestoredObjectsCountUntilTheyAreForgotten) {
  quotas_.restore(0, address("west", 1));
  quotas_.restore(0, address("west", 2));
  EXPECT_FALSE(quotas_.apply(0, address("west", 3)));
  quotas_.forget(0, address("west", 1).key);
  EXPECT_EQ(quotas_.admit_waiting(0).size(), 1U);
}

TEST_F(MemberQuotasTest, AClustersGatewaysHaveALimit) {
  EXPECT_TRUE(quotas_.apply(0, gateway("west", "b")));
  EXPECT_TRUE(quotas_.apply(0, gateway("west", "c")));
  EXPECT_FALSE(quotas_.apply(0, gateway("west", "a")));
  EXPECT_EQ(problem(),
            "1 objects of cluster west are left out, first Gateway a: of it are used 0 of 2 endpoints, 0 of 1 "
            "services and slices, 2 of 2 gateways, 0 of 1 MiB");
  EXPECT_TRUE(quotas_.apply(0, gateway("west", "b", "192.0.2.9"))) << "a new version of what stands";
  EXPECT_TRUE(quotas_.apply(0, gateway("north", "n"))) << "of another member";
  EXPECT_TRUE(quotas_.apply(0, gateway("east", "e1")) && quotas_.apply(0, gateway("east", "e2")) &&
              quotas_.apply(0, gateway("east", "e3")))
      << "our own";
  quotas_.apply(1, profile({{}, {}, {}, {}, {}, 3}));
  quotas_.read_profiles();
  EXPECT_EQ(quotas_.admit_waiting(0).size(), 1U);
  EXPECT_EQ(problem(), "");
}

// The key of a gateway does not name its cluster, and its value may come to name another one.
TEST_F(MemberQuotasTest, AGatewayThatGoesToAnotherClusterCountsThere) {
  for (const char* name : {"a", "b"}) {
    EXPECT_TRUE(quotas_.apply(0, gateway("west", name)));
    EXPECT_TRUE(quotas_.apply(0, gateway("north", std::string("n") + name)));
  }
  EXPECT_FALSE(quotas_.apply(0, gateway("west", "na")));
  EXPECT_EQ(std::get<GatewayObject>(*model_.version_of(0, gateway("", "na").key)).cluster, "north");
  EXPECT_FALSE(quotas_.apply(0, gateway("north", "nc")));
  quotas_.apply(0, gone(gateway("west", "a")));
  ASSERT_EQ(quotas_.admit_waiting(0).size(), 2U) << "na goes to west, and nc has room then";
  EXPECT_EQ(std::get<GatewayObject>(*model_.version_of(0, gateway("", "na").key)).cluster, "west");
  quotas_.apply(0, gone(gateway("west", "na")));
  EXPECT_TRUE(quotas_.apply(0, gateway("west", "c")));
  EXPECT_FALSE(quotas_.apply(0, gateway("west", "d")));
  quotas_.apply(0, gone(gateway("west", "d")));
  EXPECT_EQ(problem(), "") << "what waited is gone";
}

// Whatever comes in whatever order, as much stands as may, and no more.
TEST_F(MemberQuotasTest, AfterAnyChangesTheCountsAreThoseOfTheModel) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::map<ObjectKey, bool> said;
  for (int i = 0; i < 3000; ++i) {
    ObjectDelta delta = address("west", 1 + static_cast<int>(random() % 5), random() % 200'000);
    delta = random() % 3 == 0 ? gone(delta) : delta;
    said[delta.key] = delta.value.has_value();
    quotas_.apply(0, delta);
    (void)quotas_.admit_waiting(0);
    std::size_t standing = 0, bytes = 0, wanted = 0;
    for (const auto& [key, wants] : said) {
      const ObjectValue* value = model_.version_of(0, key);
      standing += value != nullptr ? 1 : 0;
      bytes += value != nullptr ? object_bytes(key, *value) : 0;
      wanted += wants ? 1 : 0;
      ASSERT_TRUE(wants || value == nullptr) << "what the hub removed is gone";
    }
    ASSERT_EQ(standing, std::min<std::size_t>(wanted, 2));
    ASSERT_LE(bytes, std::size_t{1} << 20);
  }
}

}  // namespace
}  // namespace isthmus
