#include "control/restore/keeper.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "test/unit/source/temporary_folder.h"

namespace isthmus {
namespace {

ObjectDelta address(int n, std::uint32_t identity) {
  const std::string text = "10.1." + std::to_string(n / 250) + "." + std::to_string(n % 250);
  return {{ObjectKind::kAddress, "west", {}, text},
          AddressObject{*Prefix::parse(text), Identity{identity}, {}, "shop", "web-" + text, {}},
          {"cluster west: ip/" + text, 0}};
}

class KeeperTest : public ::testing::Test {
 protected:
  std::unique_ptr<Keeper> open() {
    kept_ = {};
    auto keeper = Keeper::open(folder_.path("known"), "east-1", kept_);
    EXPECT_TRUE(keeper.ok()) << (keeper.ok() ? "" : keeper.error().text());
    return std::move(*keeper);
  }
  TemporaryFolder folder_;
  KeptState kept_;
};

TEST_F(KeeperTest, TheLastVersionOfEachObjectIsThereAfterARestart) {
  {
    const auto keeper = open();
    EXPECT_TRUE(kept_.objects.empty());
    keeper->objects("etcd", {address(1, 300), address(2, 300), address(3, 300)});
    ObjectDelta gone = address(2, 300);
    gone.value.reset();
    keeper->objects("etcd", {address(1, 301), gone});
    keeper->objects("file", {address(1, 400)});
  }
  const auto keeper = open();
  EXPECT_FALSE(keeper->problem());
  std::map<std::string, std::uint32_t> found;
  for (const auto& [object, version] : kept_.objects) {
    found[object.hub + " " + object.key.name] = std::get<AddressObject>(version.value).identity.value();
  }
  EXPECT_EQ(found, (std::map<std::string, std::uint32_t>{
                       {"etcd 10.1.0.1", 301}, {"etcd 10.1.0.3", 300}, {"file 10.1.0.1", 400}}));
}

TEST_F(KeeperTest, OtherFactsAreThereToo) {
  const KeptClaims claims{ClusterId{2}, {*Prefix::parse("10.2.0.0/16")}, {}};
  {
    const auto keeper = open();
    keeper->seen("etcd", "west", {1'700'000'000, false});
    keeper->seen("etcd", "west", {1'700'000'030, true});
    keeper->claims("west", claims);
    keeper->claims("north", claims);
    keeper->claims("north", std::nullopt);
    keeper->holder(*IpAddress::parse("10.200.0.1"), KeptHolder{"shop", "web"});
  }
  const auto keeper = open();
  EXPECT_EQ(kept_.seen.at({"etcd", "west"}), (KeptTime{1'700'000'030, true}));
  EXPECT_EQ(kept_.clusters, (std::map<std::string, KeptClaims>{{"west", claims}}));
  EXPECT_EQ(kept_.vips.at(*IpAddress::parse("10.200.0.1")), (KeptHolder{"shop", "web"}));
}

TEST_F(KeeperTest, AWholeListIsWrittenInTheOrderOfItsChanges) {
  constexpr int kObjects = 20'000;
  std::vector<ObjectDelta> deltas;
  for (int n = 0; n < kObjects; ++n) {
    deltas.push_back(address(n, 300));
  }
  {
    const auto keeper = open();
    keeper->objects("etcd", std::move(deltas));
    EXPECT_FALSE(keeper->problem());
  }
  const auto keeper = open();
  EXPECT_EQ(kept_.objects.size(), static_cast<std::size_t>(kObjects));
}

TEST_F(KeeperTest, AStoreThatDoesNotDecodeIsNamedAndStartsEmpty) {
  {
    auto store = Store::open(folder_.path("known"), "east-1", kKeptFormat);
    ASSERT_TRUE((*store)->write({{encode_key(KeptCluster{"west"}), "no claims"}}));
  }
  {
    const auto keeper = open();
    EXPECT_TRUE(kept_.clusters.empty());
    ASSERT_TRUE(keeper->problem());
    EXPECT_NE(keeper->problem()->what.find("is not used"), std::string::npos);
    keeper->objects("etcd", {address(1, 300)});
  }
  const auto keeper = open();
  EXPECT_EQ(kept_.objects.size(), 1U);
  EXPECT_FALSE(keeper->problem());
}

}  // namespace
}  // namespace isthmus
