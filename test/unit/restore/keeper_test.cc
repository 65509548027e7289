#include "control/restore/keeper.h"

#include <gtest/gtest.h>

#include <signal.h>
#include <sys/resource.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <future>
#include <set>
#include <string>
#include <thread>

#include "test/unit/source/temporary_folder.h"

namespace isthmus {
namespace {

ObjectDelta address(int n, std::uint32_t identity) {
  const std::string text = "10.1." + std::to_string(n / 250) + "." + std::to_string(n % 250);
  return {{ObjectKind::kAddress, "west", {}, text},
          AddressObject{*Prefix::parse(text), Identity{identity}, {}, "shop", "web-" + text, {}},
          {"cluster west: ip/" + text, 0}};
}

// While it exists no file of this process grows, as on a disk without room.
class NoRoom {
 public:
  NoRoom() : before_(::signal(SIGXFSZ, SIG_IGN)) {
    EXPECT_EQ(::getrlimit(RLIMIT_FSIZE, &usual_), 0);
    const rlimit none{0, usual_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &none), 0);
  }
  ~NoRoom() {
    ::setrlimit(RLIMIT_FSIZE, &usual_);
    ::signal(SIGXFSZ, before_);
  }
  NoRoom(const NoRoom&) = delete;
  NoRoom& operator=(const NoRoom&) = delete;

 private:
  rlimit usual_{};
  void (*before_)(int);
};

bool until(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition() && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return condition();
}

class KeeperTest : public ::testing::Test {
 protected:
  std::unique_ptr<Keeper> open() {
    kept_ = {};
    auto keeper = Keeper::open(folder_.path("known"), "east-1", owners_, kept_);
    EXPECT_TRUE(keeper.ok()) << (keeper.ok() ? "" : keeper.error().text());
    return std::move(*keeper);
  }
  TemporaryFolder folder_;
  KeptState kept_;
  KeptOwners owners_{{"", "cluster east"}, {"etcd", "folder /etc/etcd"}, {"file", "folder /hub"}};
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

TEST_F(KeeperTest, AnotherProcessHasWhatIsKeptBetweenReleaseAndResume) {
  const auto released = [](Keeper& keeper) {
    std::promise<void> done;
    keeper.release([&] { done.set_value(); });
    done.get_future().wait();
  };
  const auto keeper = open();
  keeper->seen("etcd", "west", {1'700'000'000, false});
  released(*keeper);
  {
    const auto other = open();
    EXPECT_EQ(kept_.seen.at({"etcd", "west"}), (KeptTime{1'700'000'000, false})) << "what waited is written";
    other->seen("etcd", "north", {1'700'000'010, false});
    keeper->seen("etcd", "east", {1'700'000'020, false});
  }
  keeper->resume();
  released(*keeper);
  {
    const auto other = open();
    EXPECT_EQ(kept_.seen.size(), 3u);
    keeper->seen("etcd", "south", {1'700'000'030, false});
  }
  EXPECT_FALSE(keeper->problem());
}

TEST_F(KeeperTest, WhatIsToldAfterAReleaseIsForgottenWithoutAResume) {
  {
    const auto keeper = open();
    std::promise<void> done;
    keeper->release([&] { done.set_value(); });
    done.get_future().wait();
    keeper->seen("etcd", "west", {1'700'000'000, false});
  }
  static_cast<void>(open());
  EXPECT_TRUE(kept_.seen.empty());
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

// A store with objects of two hubs, claims and times.
class KeptByAnother : public KeeperTest {
 protected:
  void SetUp() override {
    const auto keeper = open();
    keeper->objects("etcd", {address(1, 300),
                             {{ObjectKind::kCluster, {}, {}, "west"}, ClusterObject{ClusterId{2}, {}, {}}, {}},
                             {{ObjectKind::kService, "west", "shop", "web"}, ServiceObject{}, {}}});
    keeper->objects("file", {address(2, 400)});
    keeper->seen("etcd", "west", {1'700'000'000, false});
    keeper->seen("file", {}, {1'700'000'000, true});
    keeper->claims("west", KeptClaims{ClusterId{2}, {*Prefix::parse("10.2.0.0/16")}, {}});
    keeper->holder(*IpAddress::parse("10.200.0.1"), KeptHolder{"shop", "web"});
  }
  // Each part that is used after a start, as its hub.
  std::string used() {
    const auto keeper = open();
    problem_ = keeper->problem() ? keeper->problem()->text() : "";
    std::string out;
    std::set<std::string> hubs;
    for (const auto& [object, version] : kept_.objects) {
      out += hubs.insert(object.hub).second ? object.hub + " " : "";
    }
    for (const auto& [of, time] : kept_.seen) {
      out += "seen-" + of.first + " ";
    }
    return out + (kept_.clusters.empty() ? "" : "claims ") + (kept_.vips.empty() ? "" : "vips ");
  }
  static constexpr const char* kAll = "etcd file seen-etcd seen-file claims vips ";
  std::string problem_;
};

TEST_F(KeptByAnother, NothingOfAnotherClusterIsUsedThenOrLater) {
  owners_[""] = "cluster west";
  EXPECT_EQ(used(), "");
  EXPECT_NE(problem_.find("cluster east"), std::string::npos) << problem_;
  EXPECT_NE(problem_.find("cluster west"), std::string::npos) << problem_;
  owners_[""] = "cluster east";
  EXPECT_EQ(used(), "") << "it is gone";
}

TEST_F(KeptByAnother, NothingOfAnotherHubIsUsedThenOrLaterNorTheClaimsOfItsFleet) {
  owners_["file"] = "folder /another";
  EXPECT_EQ(used(), "etcd seen-etcd ");
  EXPECT_NE(problem_.find("folder /hub"), std::string::npos) << problem_;
  EXPECT_EQ(used(), "etcd seen-etcd ");
  EXPECT_EQ(problem_, "") << "it is told once";
  owners_["file"] = "folder /hub";
  EXPECT_EQ(used(), "etcd seen-etcd ");
}

TEST_F(KeptByAnother, AHubThatIsNotConfiguredLeavesNothingThatALaterOneWouldTakeForItsOwn) {
  owners_.erase("file");
  EXPECT_EQ(used(), "etcd seen-etcd claims vips ");
  EXPECT_EQ(problem_, "");
  owners_["file"] = "folder /hub";
  EXPECT_EQ(used(), "etcd seen-etcd claims vips ") << "its policies are not known to be listed";
}

// As where the fleet is told by an API server instead of an etcd: its clusters have the same names, and another
// history.
TEST_F(KeptByAnother, WhoHadWhatByAHubThatIsNotConfiguredAnyMoreHasNoClaim) {
  owners_.erase("etcd");
  owners_["fleet"] = "server https://hub";
  EXPECT_EQ(used(), "file seen-file ");
  EXPECT_EQ(problem_, "");
  owners_["etcd"] = "folder /etc/etcd";
  EXPECT_EQ(used(), "file seen-file ") << "they are gone";
}

TEST_F(KeptByAnother, AHubThatCannotBeToldAtPresentStands) {
  owners_["file"] = std::nullopt;
  EXPECT_EQ(used(), kAll);
  owners_["file"] = "folder /hub";
  EXPECT_EQ(used(), kAll);
  EXPECT_EQ(problem_, "");
}

TEST_F(KeptByAnother, AStoreThatDoesNotSayWhoseItIsIsNotUsed) {
  {
    auto store = Store::open(folder_.path("known"), "east-1", kKeptFormat);
    ASSERT_TRUE((*store)->write({{encode_key(KeptOwner{""}), std::nullopt}}));
  }
  EXPECT_EQ(used(), "");
}

TEST_F(KeeperTest, WhatADiskWithoutRoomDidNotTakeIsWrittenOnceItHasRoom) {
  {
    const auto keeper = open();
    {
      const NoRoom none;
      keeper->objects("etcd", {address(1, 300)});
      ASSERT_TRUE(until([&] { return keeper->problem().has_value(); }));
    }
    keeper->objects("etcd", {address(2, 300)});
    EXPECT_TRUE(until([&] { return !keeper->problem(); }));
    EXPECT_FALSE(keeper->lost());
  }
  const auto keeper = open();
  EXPECT_EQ(kept_.objects.size(), 2U);
  EXPECT_FALSE(keeper->problem()) << keeper->problem()->text();
}

TEST_F(KeeperTest, WhatIsDamagedWhileItRunsIsKeptAnewOnceEverythingIsToldAgain) {
  {
    const auto keeper = open();
    keeper->objects("etcd", {address(1, 300)});
    {
      const NoRoom none;
      keeper->objects("etcd", {address(2, 300)});
      ASSERT_TRUE(until([&] { return keeper->problem().has_value(); }));
      std::filesystem::resize_file(folder_.path("known/east-1.known/CURRENT"), 0);
    }
    ASSERT_TRUE(until([&] { return keeper->lost(); }));
    keeper->seen("etcd", "west", {1'700'000'000, true});
    keeper->objects("etcd", {address(3, 300)});  // is not taken: a part is not the whole
    keeper->begin_anew();
    EXPECT_FALSE(keeper->lost());
    EXPECT_EQ(keeper->beginnings(), 1U);
    keeper->objects("etcd", {address(1, 300), address(2, 300)});
    EXPECT_TRUE(until([&] { return !keeper->problem(); }));
  }
  const auto keeper = open();
  EXPECT_EQ(kept_.objects.size(), 2U);
  EXPECT_TRUE(kept_.seen.empty());
  EXPECT_FALSE(keeper->problem()) << keeper->problem()->text();
}

TEST_F(KeeperTest, WhatIsRemovedWhileItRunsIsToldAndKeptAnew) {
  {
    const auto keeper = open();
    keeper->objects("etcd", {address(1, 300)});
    std::filesystem::remove_all(folder_.path("known/east-1.known"));
    ASSERT_TRUE(until([&] { return keeper->lost(); }));
    ASSERT_TRUE(keeper->problem());
    EXPECT_NE(keeper->problem()->what.find("removed while"), std::string::npos) << keeper->problem()->text();
    keeper->begin_anew();
    keeper->objects("etcd", {address(1, 300), address(2, 300)});
    EXPECT_TRUE(until([&] { return !keeper->problem(); }));
  }
  const auto keeper = open();
  EXPECT_EQ(kept_.objects.size(), 2U);
  EXPECT_FALSE(keeper->problem()) << keeper->problem()->text();
}

TEST_F(KeeperTest, ChangesThatWaitAreBoundedByTheirSize) {
  constexpr std::size_t kLimit = 100'000;
  {
    KeptState kept;
    const auto keeper = *Keeper::open(folder_.path("known"), "east-1", owners_, kept, kLimit);
    keeper->objects("etcd", {address(1, 300)});
    EXPECT_FALSE(keeper->lost());
    keeper->objects(
        "etcd",
        {{{ObjectKind::kNamespace, "west", {}, "shop"}, NamespaceObject{{{"key", std::string(kLimit, 'x')}}, {}}, {}}});
    EXPECT_TRUE(until([&] { return keeper->lost(); })) << "one object of that size is too much";
    ASSERT_TRUE(keeper->problem());
    EXPECT_NE(keeper->problem()->what.find("faster than the disk"), std::string::npos);
  }
  const auto keeper = open();
  EXPECT_TRUE(kept_.objects.empty()) << "it would be wrong";
}

TEST_F(KeeperTest, AllThatIsToldAnewIsKeptWhateverItsSize) {
  constexpr std::size_t kLimit = 100'000;
  const ObjectKey key{ObjectKind::kNamespace, "west", {}, "shop"};
  const std::vector<ObjectDelta> large{{key, NamespaceObject{{{"key", std::string(kLimit, 'x')}}, {}}, {}}};
  {
    KeptState kept;
    const auto keeper = *Keeper::open(folder_.path("known"), "east-1", owners_, kept, kLimit);
    keeper->objects("etcd", large);
    ASSERT_TRUE(until([&] { return keeper->lost(); }));
    keeper->begin_anew();
    keeper->all_objects("etcd", large);
  }
  const auto keeper = open();
  ASSERT_EQ(kept_.objects.size(), 1U);
  EXPECT_EQ(kept_.objects.front().first.key, key);
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
