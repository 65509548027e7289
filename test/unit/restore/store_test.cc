#include "control/restore/store.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>

#include "test/unit/source/temporary_folder.h"

namespace isthmus {
namespace {

namespace fs = std::filesystem;
using Pairs = std::map<std::string, std::string>;

class StoreTest : public ::testing::Test {
 protected:
  std::unique_ptr<Store> open(std::uint32_t format = 1) const {
    auto store = Store::open(directory_, "east-1", format);
    EXPECT_TRUE(store.ok()) << (store.ok() ? "" : store.error().text());
    return store.ok() ? std::move(*store) : nullptr;
  }
  static Pairs all(Store& store) {
    Pairs pairs;
    const bool whole = store.visit([&](std::string_view key, std::string_view value) {
      pairs.emplace(key, value);
      return true;
    });
    return whole ? pairs : Pairs{{"not", "whole"}};
  }
  void fill() const {
    const auto store = open();
    ASSERT_TRUE(store->write({{"a", "1"}, {"b", "2"}, {"c", "3"}}));
  }
  // That it started empty, for a reason with these words, and is used from now on.
  void expect_clean_start(const std::string& words, std::uint32_t format = 1) const {
    {
      const auto store = open(format);
      EXPECT_EQ(all(*store), Pairs{});
      EXPECT_NE(store->reason().find(words), std::string::npos) << store->reason();
      EXPECT_TRUE(store->write({{"new", "1"}}));
    }
    const auto store = open(format);
    EXPECT_EQ(all(*store), (Pairs{{"new", "1"}}));
    EXPECT_EQ(store->reason(), "");
  }

  TemporaryFolder folder_;
  std::string directory_ = folder_.path("known");
  std::string path_ = directory_ + "/east-1.known";
};

TEST_F(StoreTest, WhatWasWrittenIsThereAfterwards) {
  fill();
  const auto store = open();
  EXPECT_EQ(store->reason(), "");
  EXPECT_EQ(all(*store), (Pairs{{"a", "1"}, {"b", "2"}, {"c", "3"}}));
  ASSERT_TRUE(store->write({{"a", std::nullopt}, {"b", "22"}, {"b", "222"}}));
  EXPECT_EQ(all(*store), (Pairs{{"b", "222"}, {"c", "3"}}));
}

TEST_F(StoreTest, OnlyThisUserHasAccess) {
  fill();
  struct stat info {};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700U);
}

TEST_F(StoreTest, AStoreThatOthersMayReadIsNotUsed) {
  fill();
  ASSERT_EQ(chmod(path_.c_str(), 0755), 0);
  expect_clean_start("is open to other users");
}

TEST_F(StoreTest, ALinkInItsPlaceIsNotFollowed) {
  fs::create_directories(directory_);
  fs::create_directories(folder_.path("elsewhere"));
  folder_.write("elsewhere/precious", "text");
  fs::create_directory_symlink(folder_.path("elsewhere"), path_);
  expect_clean_start("cannot be opened as a directory");
  EXPECT_TRUE(fs::exists(folder_.path("elsewhere/precious")));
}

TEST_F(StoreTest, AFileWithASecondLinkIsNotUsed) {
  fill();
  fs::create_hard_link(path_ + "/CURRENT", folder_.path("second"));
  expect_clean_start("has several links");
  EXPECT_TRUE(fs::exists(folder_.path("second")));
}

TEST_F(StoreTest, ALinkAmongItsFilesIsNotUsed) {
  fill();
  folder_.write("precious", "text");
  fs::create_symlink(folder_.path("precious"), path_ + "/000099.log");
  expect_clean_start("not a regular file");
  EXPECT_TRUE(fs::exists(folder_.path("precious")));
}

TEST_F(StoreTest, AnotherFormatIsNotRead) {
  fill();
  expect_clean_start("written by another version (isthmus 1)", 2);
}

TEST_F(StoreTest, ADatabaseOfSomebodyElseIsNotRead) {
  fill();
  {
    const auto store = open();
    ASSERT_TRUE(store->write({{std::string("\0format", 7), std::nullopt}}));
  }
  expect_clean_start("another version");
}

TEST_F(StoreTest, APairThatMakesNoSenseEmptiesIt) {
  fill();
  const auto store = open();
  EXPECT_FALSE(store->visit([](std::string_view key, std::string_view) { return key != "b"; }));
  EXPECT_NE(store->reason(), "");
  EXPECT_EQ(all(*store), Pairs{});
  EXPECT_TRUE(store->write({{"d", "4"}}));
  EXPECT_EQ(all(*store), (Pairs{{"d", "4"}}));
}

TEST_F(StoreTest, AWriteThatFailsIsFollowedByOneThatOpensItAgain) {
  fill();
  const auto store = open();
  const auto before = ::signal(SIGXFSZ, SIG_IGN);
  rlimit usual{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &usual), 0);
  const rlimit none{0, usual.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &none), 0);
  const Status full = store->write({{"d", "4"}}), still = store->write({{"d", "4"}});
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &usual), 0);
  ::signal(SIGXFSZ, before);
  EXPECT_FALSE(full);
  EXPECT_FALSE(still);
  const Status now = store->write({{"e", "5"}});
  EXPECT_TRUE(now) << now.error().text();
  EXPECT_FALSE(store->emptied());
  EXPECT_EQ(all(*store), (Pairs{{"a", "1"}, {"b", "2"}, {"c", "3"}, {"e", "5"}}));
}

TEST_F(StoreTest, WhatIsRemovedWhileItIsInUseIsLostWithTheNextWrite) {
  for (const std::string& removed : {path_, directory_, path_ + "/*"}) {
    fill();
    const auto store = open();
    if (removed.ends_with("*")) {
      for (const auto& entry : fs::directory_iterator(path_)) {
        fs::remove(entry.path());
      }
    } else {
      fs::remove_all(removed);
    }
    const Status lost = store->write({{"d", "4"}});
    EXPECT_FALSE(lost) << removed;
    EXPECT_TRUE(store->emptied()) << removed;
    EXPECT_NE(store->reason().find("removed while"), std::string::npos) << store->reason();
    EXPECT_EQ(all(*store), Pairs{}) << removed;
    const Status anew = store->write({{"e", "5"}});
    EXPECT_TRUE(anew) << anew.error().text();
    EXPECT_FALSE(store->emptied());
    EXPECT_EQ(all(*store), (Pairs{{"e", "5"}}));
  }
}

TEST_F(StoreTest, WhatIsRemovedBeforeAnythingWasWrittenIsNoLoss) {
  const auto store = open();
  fs::remove_all(path_);
  EXPECT_TRUE(store->write({{"a", "1"}}));
  EXPECT_FALSE(store->emptied());
  EXPECT_EQ(all(*store), (Pairs{{"a", "1"}}));
}

TEST_F(StoreTest, TwoProcessesDoNotShareIt) {
  const auto first = open();
  const auto second = Store::open(directory_, "east-1", 1);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().text().find("in use"), std::string::npos) << second.error().text();
}

TEST_F(StoreTest, ADiskThatTakesNothingMoreDoesNotEmptyIt) {
  fill();
  const auto before = ::signal(SIGXFSZ, SIG_IGN);
  rlimit usual{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &usual), 0);
  const rlimit none{0, usual.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &none), 0);
  const auto full = Store::open(directory_, "east-1", 1);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &usual), 0);
  ::signal(SIGXFSZ, before);
  ASSERT_FALSE(full.ok());
  EXPECT_NE(full.error().text().find("cannot open the last known state"), std::string::npos) << full.error().text();
  const auto store = open();
  EXPECT_EQ(store->reason(), "");
  EXPECT_EQ(all(*store), (Pairs{{"a", "1"}, {"b", "2"}, {"c", "3"}}));
}

TEST_F(StoreTest, ADirectoryThatCannotBeMadeIsAnErrorThatSaysWhatToDo) {
  folder_.write("file", "");
  const auto store = Store::open(folder_.path("file") + "/known", "east-1", 1);
  ASSERT_FALSE(store.ok());
  EXPECT_NE(store.error().fix.find("state.last_known_directory"), std::string::npos);
}

TEST_F(StoreTest, ADirectoryThatOthersMayWriteIsRefused) {
  fs::create_directories(directory_);
  ASSERT_EQ(chmod(directory_.c_str(), 0777), 0);
  EXPECT_FALSE(Store::open(directory_, "east-1", 1).ok());
  ASSERT_EQ(chmod(directory_.c_str(), 0755), 0);
  EXPECT_TRUE(Store::open(directory_, "east-1", 1).ok());
}

// Whatever is changed in its files: it opens, has pairs as they were written or is empty, and can be used.
TEST_F(StoreTest, DamageNeverCrashesItOrInventsPairs) {
  std::mt19937 random(1129);
  unsigned damaged = 0;
  for (int round = 0; round < 60; ++round) {
    fs::remove_all(directory_);
    fill();
    { const auto reopened = open(); }  // moves what was logged to a table
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(path_)) {
      if (entry.file_size() > 0) {
        files.push_back(entry.path());
      }
    }
    const fs::path& file = files[random() % files.size()];
    const auto size = fs::file_size(file);
    if (random() % 2 == 0) {
      fs::resize_file(file, random() % size);
    } else {
      std::fstream out(file, std::ios::in | std::ios::out | std::ios::binary);
      out.seekp(static_cast<std::streamoff>(random() % size));
      out.put(static_cast<char>(random()));
    }
    const auto store = open();
    ASSERT_TRUE(store);
    Pairs found = all(*store);
    damaged += store->reason().empty() ? 0 : 1;
    const Pairs written{{"a", "1"}, {"b", "2"}, {"c", "3"}};
    for (const auto& pair : found) {
      EXPECT_TRUE(pair.first == "not" || written.contains(pair.first)) << file << " " << pair.first;
      EXPECT_TRUE(pair.first == "not" || written.at(pair.first) == pair.second) << file;
    }
    EXPECT_TRUE(store->write({{"d", "4"}}));
  }
  EXPECT_GT(damaged, 5U);
}

}  // namespace
}  // namespace isthmus
