#include "control/source/file/file_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <string>

#include "test/unit/source/temporary_folder.h"

namespace isthmus {
namespace {

using testing::HasSubstr;
using testing::Pair;
using testing::UnorderedElementsAre;

std::string pod(const std::string& name, const std::string& address) {
  return "---\napiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nstatus: {podIP: " + address + "}\n";
}

constexpr auto kCluster = R"(apiVersion: isthmus.io/v1alpha1
kind: Cluster
metadata: {name: east}
spec: {id: 1, podCIDRs: [10.1.0.0/16]}
)";

// A hub's folder, the source that watches it, and the objects that result from its deltas.
class FileSourceTest : public testing::Test {
 protected:
  void SetUp() override {
    hub_.write("hub/fleet/clusters.yaml", kCluster);
    hub_.write("hub/clusters/east/pods.yaml", pod("a", "10.1.0.1") + pod("b", "10.1.0.2"));
  }
  void start() {
    const auto started = source_.start();
    ASSERT_TRUE(started.ok()) << started.error().text();
    EXPECT_FALSE(source_.synced());
    wait_until([&] { return source_.synced(); });
  }
  // Applies deltas whenever the file descriptor is readable, until the condition holds.
  void wait_until(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "the condition was not met; " << state();
      pollfd waiting{source_.fd(), POLLIN, 0};
      if (::poll(&waiting, 1, 1000) > 0) {
        apply_deltas();
      }
    }
  }
  void apply_deltas() {
    for (const ObjectDelta& delta : source_.poll()) {
      ++deltas_;
      const std::string key = (delta.key.cluster.empty() ? "" : delta.key.cluster + "/") + delta.key.name;
      if (!delta.value) {
        EXPECT_EQ(objects_.erase(key), 1u) << "removed but never added: " << key;
      } else if (const auto* value = std::get_if<PodObject>(&*delta.value)) {
        objects_[key] = value->addresses.empty() ? "" : value->addresses[0].to_string();
      } else {
        objects_[key] = "";
      }
    }
  }
  // Waits until all earlier changes have been applied, by making one whose effect can be observed.
  void settle() {
    const std::string address = "10.1.99." + std::to_string(++marker_count_);
    hub_.write("hub/clusters/east/mark.yaml", pod("mark", address));
    wait_until([&] { return objects_["east/mark"] == address; });
  }
  [[nodiscard]] std::string problems() const {
    std::string out;
    for (const SourceProblem& problem : source_.problems()) {
      out += problem.provenance.text() + ": " + problem.what + "\n";
    }
    return out;
  }
  [[nodiscard]] std::string state() const { return testing::PrintToString(objects_) + "\n" + problems(); }

  TemporaryFolder hub_;
  FileSource source_{hub_.path("hub")};
  std::map<std::string, std::string> objects_;
  std::size_t deltas_ = 0;
  int marker_count_ = 0;
};

TEST_F(FileSourceTest, TheFirstPollReturnsEverything) {
  start();
  EXPECT_THAT(objects_, UnorderedElementsAre(Pair("east", ""), Pair("east/a", "10.1.0.1"), Pair("east/b", "10.1.0.2")));
  EXPECT_EQ(problems(), "");
  EXPECT_THAT(source_.describe(), HasSubstr("3 objects from 2 files"));
}

TEST_F(FileSourceTest, AFileThatIsRewrittenOrReplacedIsReadAgain) {
  start();
  hub_.write("hub/clusters/east/pods.yaml", pod("a", "10.1.0.3"));
  wait_until([&] { return objects_["east/a"] == "10.1.0.3"; });
  EXPECT_FALSE(objects_.contains("east/b"));
  hub_.replace("hub/clusters/east/pods.yaml", pod("a", "10.1.0.4"));
  wait_until([&] { return objects_["east/a"] == "10.1.0.4"; });
  hub_.remove("hub/clusters/east/pods.yaml");
  wait_until([&] { return !objects_.contains("east/a"); });
}

TEST_F(FileSourceTest, OnlyTheFileThatChangedIsReadAgain) {
  for (int i = 0; i < 50; ++i) {
    hub_.write("hub/clusters/east/p" + std::to_string(i) + ".yaml", pod("p" + std::to_string(i), "10.1.1.1"));
  }
  start();
  const auto before = source_.files_read();
  hub_.write("hub/clusters/east/p7.yaml", pod("p7", "10.1.1.2"));
  wait_until([&] { return objects_["east/p7"] == "10.1.1.2"; });
  EXPECT_EQ(source_.files_read(), before + 1);
}

TEST_F(FileSourceTest, OfManyChangesNoneIsLostAndEachReadsAtMostOneFile) {
  constexpr int kChanges = 1000;
  start();
  const auto before = source_.files_read();
  for (int i = 0; i < kChanges; ++i) {
    hub_.replace("hub/clusters/east/pods.yaml", pod("a", "10.1.2." + std::to_string(i % 200 + 1)));
  }
  hub_.replace("hub/clusters/east/pods.yaml", pod("a", "10.1.3.3"));
  wait_until([&] { return objects_["east/a"] == "10.1.3.3"; });
  EXPECT_LE(source_.files_read(), before + kChanges + 1);
}

TEST_F(FileSourceTest, ClusterFoldersAreAddedRenamedAndRemoved) {
  start();
  hub_.write("hub/clusters/west/pods.yaml", pod("w", "10.2.0.1"));
  wait_until([&] { return objects_.contains("west/w"); });
  hub_.write("hub/clusters/west/more.yaml", pod("x", "10.2.0.2"));
  wait_until([&] { return objects_.contains("west/x"); });
  hub_.move("hub/clusters/west", "hub/clusters/north");
  wait_until([&] { return objects_.contains("north/x") && !objects_.contains("west/x"); });
  hub_.write("hub/clusters/north/more.yaml", pod("x", "10.2.0.9"));
  wait_until([&] { return objects_["north/x"] == "10.2.0.9"; });
  hub_.remove("hub/clusters/north");
  wait_until([&] { return !objects_.contains("north/x") && !objects_.contains("north/w"); });
  EXPECT_TRUE(objects_.contains("east/a"));
}

TEST_F(FileSourceTest, AnInvalidFileKeepsItsObjectsUntilItIsValidAgain) {
  start();
  hub_.write("hub/clusters/east/pods.yaml", pod("a", "10.1.0.1") + "---\nkind: Pod\nmetadata: {name: \"b");
  wait_until([&] { return !problems().empty(); });
  EXPECT_TRUE(objects_.contains("east/b"));
  EXPECT_THAT(problems(), HasSubstr("clusters/east/pods.yaml:8: not valid YAML"));
  hub_.write("hub/clusters/east/pods.yaml", pod("a", "10.1.0.1") + pod("b", "10.1.0.7"));
  wait_until([&] { return objects_["east/b"] == "10.1.0.7"; });
  EXPECT_EQ(problems(), "");
}

TEST_F(FileSourceTest, AFileIsNotReadWhileItIsBeingWritten) {
  start();
  const auto before = deltas_;
  {
    std::ofstream out(hub_.path("hub/clusters/east/pods.yaml"), std::ios::trunc);
    out << pod("a", "10.1.0.1") << std::flush;
    settle();
    EXPECT_TRUE(objects_.contains("east/b"));
    out << pod("b", "10.1.0.5");
  }
  wait_until([&] { return objects_["east/b"] == "10.1.0.5"; });
  EXPECT_EQ(deltas_, before + 2);  // the marker and b: no object was removed and added again
}

TEST_F(FileSourceTest, MovingAnObjectToAnotherFileDoesNotRemoveIt) {
  start();
  const auto before = deltas_;
  hub_.move("hub/clusters/east/pods.yaml", "hub/clusters/east/renamed.yaml");
  settle();
  EXPECT_EQ(deltas_, before + 1);
  EXPECT_EQ(objects_["east/a"], "10.1.0.1");
  hub_.write("hub/clusters/east/renamed.yaml", pod("a", "10.1.0.8"));
  wait_until([&] { return objects_["east/a"] == "10.1.0.8"; });
}

TEST_F(FileSourceTest, AnObjectInTwoFilesIsAProblemNamingBoth) {
  start();
  hub_.write("hub/clusters/east/again.yaml", pod("a", "10.1.0.9"));
  wait_until([&] { return !problems().empty(); });
  EXPECT_THAT(problems(), HasSubstr("again.yaml:2: Pod default/a of cluster east is also defined in"));
  EXPECT_THAT(problems(), HasSubstr("pods.yaml:2, which is in force"));
  EXPECT_EQ(objects_["east/a"], "10.1.0.1");
  hub_.remove("hub/clusters/east/again.yaml");
  wait_until([&] { return problems().empty(); });
}

TEST_F(FileSourceTest, UpdatesOfAMountedConfigMapAreRead) {
  const auto link = [&](const std::string& to, const std::string& at) {
    std::filesystem::create_symlink(to, hub_.path(at));
  };
  hub_.write("hub/clusters/west/..v1/pods.yaml", pod("w", "10.2.0.1"));
  link("..v1", "hub/clusters/west/..data");
  link("..data/pods.yaml", "hub/clusters/west/pods.yaml");
  start();
  EXPECT_EQ(objects_["west/w"], "10.2.0.1");
  for (int version = 2; version < 5; ++version) {
    const std::string name = "..v" + std::to_string(version), address = "10.2.0." + std::to_string(version);
    hub_.write("hub/clusters/west/" + name + "/pods.yaml", pod("w", address));
    link(name, "hub/clusters/west/..data_tmp");
    hub_.move("hub/clusters/west/..data_tmp", "hub/clusters/west/..data");
    wait_until([&] { return objects_["west/w"] == address; });
  }
  EXPECT_EQ(problems(), "");
}

TEST_F(FileSourceTest, AClusterFolderThatIsALinkFollowsItsNewTarget) {
  hub_.write("v1/pods.yaml", pod("w", "10.2.0.1"));
  hub_.write("v2/pods.yaml", pod("w", "10.2.0.2"));
  std::filesystem::create_symlink("../../v1", hub_.path("hub/clusters/west"));
  start();
  EXPECT_EQ(objects_["west/w"], "10.2.0.1");
  std::filesystem::create_symlink("../../v2", hub_.path("hub/clusters/.next"));
  hub_.move("hub/clusters/.next", "hub/clusters/west");
  wait_until([&] { return objects_["west/w"] == "10.2.0.2"; });
  hub_.write("v2/pods.yaml", pod("w", "10.2.0.3"));
  wait_until([&] { return objects_["west/w"] == "10.2.0.3"; });
}

TEST_F(FileSourceTest, ANewLinkToAFileIsRead) {
  hub_.write("elsewhere.yaml", pod("l", "10.1.0.20"));
  start();
  std::filesystem::create_symlink("../../../elsewhere.yaml", hub_.path("hub/clusters/east/link.yaml"));
  wait_until([&] { return objects_.contains("east/l"); });
  std::filesystem::remove(hub_.path("elsewhere.yaml"));
  std::filesystem::create_hard_link(hub_.path("hub/clusters/east/pods.yaml"), hub_.path("hub/clusters/east/hard.yaml"));
  wait_until([&] { return problems().find("hard.yaml") != std::string::npos; });
  EXPECT_TRUE(objects_.contains("east/l"));
}

TEST_F(FileSourceTest, ReloadFindsChangesWithoutInotifyEvents) {
  hub_.write("elsewhere.yaml", pod("l", "10.1.0.20"));
  std::filesystem::create_symlink("../../../elsewhere.yaml", hub_.path("hub/clusters/east/link.yaml"));
  start();
  EXPECT_EQ(objects_["east/l"], "10.1.0.20");
  hub_.write("elsewhere.yaml", pod("l", "10.1.0.21"));
  source_.reload();
  wait_until([&] { return objects_["east/l"] == "10.1.0.21"; });
  const auto before = deltas_;
  source_.reload();
  settle();
  EXPECT_EQ(deltas_, before + 1);
}

TEST_F(FileSourceTest, AnInotifyQueueOverflowLosesNoChange) {
  start();
  std::ifstream limit("/proc/sys/fs/inotify/max_queued_events");
  long max_events = 0;
  limit >> max_events;
  ASSERT_GT(max_events, 0);
  // A rename queues two events, and they are never merged.
  hub_.write("hub/clusters/east/x.yaml", pod("x", "10.1.4.1"));
  for (long i = 0; i < max_events / 2 + 1000; ++i) {
    hub_.move("hub/clusters/east/x.yaml", "hub/clusters/east/y.yaml");
    hub_.move("hub/clusters/east/y.yaml", "hub/clusters/east/x.yaml");
  }
  hub_.write("hub/clusters/east/pods.yaml", pod("a", "10.1.4.4"));
  hub_.write("hub/clusters/west/pods.yaml", pod("w", "10.2.0.1"));
  wait_until(
      [&] { return objects_["east/a"] == "10.1.4.4" && objects_.contains("west/w") && !objects_.contains("east/b"); });
  EXPECT_EQ(objects_["east/x"], "10.1.4.1");
}

TEST_F(FileSourceTest, ObjectsStayWhileTheHubFolderIsMissing) {
  start();
  hub_.move("hub", "away");
  wait_until([&] { return problems().find("the hub's folder cannot be read") != std::string::npos; });
  EXPECT_EQ(objects_.size(), 3u);
  hub_.write("away/clusters/east/pods.yaml", pod("a", "10.1.0.1") + pod("c", "10.1.0.3"));
  hub_.move("away", "hub");
  wait_until([&] { return objects_.contains("east/c") && !objects_.contains("east/b"); });
  EXPECT_EQ(problems(), "");
  hub_.write("hub/clusters/east/pods.yaml", pod("a", "10.1.0.6"));
  wait_until([&] { return objects_["east/a"] == "10.1.0.6"; });
}

TEST_F(FileSourceTest, ObjectsStayWhileTheClustersFolderIsMissing) {
  start();
  hub_.move("hub/clusters", "clusters");
  wait_until([&] { return problems().find("hub/clusters: the folder cannot be read") != std::string::npos; });
  EXPECT_EQ(objects_.size(), 3u);
  hub_.move("clusters", "hub/clusters");
  wait_until([&] { return problems().empty(); });
  hub_.write("hub/clusters/east/pods.yaml", pod("a", "10.1.0.6"));
  wait_until([&] { return objects_["east/a"] == "10.1.0.6"; });
}

TEST_F(FileSourceTest, IgnoredFilesAndFoldersAreReported) {
  hub_.write("hub/stray.yaml", kCluster);
  hub_.write("hub/clusters/stray.yaml", kCluster);
  hub_.write("hub/clusters/East_1/pods.yaml", pod("a", "10.1.0.1"));
  hub_.write("hub/clusters/east/deeper/pods.yaml", pod("d", "10.1.0.1"));
  hub_.write("hub/clusters/east/notes.txt", "not a manifest");
  hub_.write("hub/clusters/east/.hidden.yaml", "kind: [");
  start();
  for (const char* expected : {"hub/stray.yaml: a file directly in", "clusters/stray.yaml: a file directly in",
                               "clusters/East_1: the folder's name is not a valid cluster name",
                               "clusters/east/deeper: a folder in a cluster's folder"}) {
    EXPECT_THAT(problems(), HasSubstr(expected));
  }
  EXPECT_EQ(objects_.size(), 3u);
  hub_.remove("hub/clusters/east/deeper");
  hub_.remove("hub/stray.yaml");
  wait_until([&] {
    return problems().find("deeper") == std::string::npos && problems().find("hub/stray") == std::string::npos;
  });
}

TEST_F(FileSourceTest, APipeNamedLikeAManifestIsAProblemAndDoesNotBlock) {
  ASSERT_EQ(mkfifo(hub_.path("hub/clusters/east/pipe.yaml").c_str(), 0600), 0);
  start();
  EXPECT_THAT(problems(), HasSubstr("pipe.yaml: the file cannot be read: it is a pipe"));
  ASSERT_EQ(source_.problems().size(), 1u);
  EXPECT_EQ(source_.problems()[0].fix, "name a regular file that this user may read, or delete it");
  EXPECT_EQ(objects_.size(), 3u);
}

TEST(FileSourceStart, AMissingFolderIsAnErrorWithAFix) {
  FileSource missing("/nonexistent/hub");
  const auto started = missing.start();
  ASSERT_FALSE(started.ok());
  EXPECT_EQ(started.error().where, "/nonexistent/hub");
  EXPECT_THAT(started.error().fix, HasSubstr("fleet/ and clusters/"));
  FileSource file("/etc/passwd");
  EXPECT_FALSE(file.start().ok());
}

TEST(FileSourceStart, AnEmptyFolderStartsWithThreeProblems) {
  const TemporaryFolder folder;
  FileSource source(folder.path());
  ASSERT_TRUE(source.start().ok());
  EXPECT_TRUE(source.poll().empty());
  EXPECT_TRUE(source.synced());
  EXPECT_EQ(source.problems().size(), 3u);
}

// What a folder is known to have all of, as it is when a source starts.
class FileListing : public FileSourceTest {
 protected:
  struct Known {
    bool fleet = false, own = false, other = false, policies = false;
    friend bool operator==(const Known&, const Known&) = default;
    friend void PrintTo(const Known& k, std::ostream* out) { *out << k.fleet << k.own << k.other << k.policies; }
  };
  Known known() {
    FileSource source(hub_.path("hub"), "east");
    EXPECT_TRUE(source.start().ok());
    EXPECT_EQ(known_of(source), Known{}) << "nothing is read yet";
    pollfd waiting{source.fd(), POLLIN, 0};
    EXPECT_EQ(::poll(&waiting, 1, 30'000), 1);
    static_cast<void>(source.poll());
    told_.clear();
    for (const SourceProblem& problem : source.problems()) {
      told_ += problem.what + "\n";
    }
    EXPECT_EQ(told_.find("policies are not known") != std::string::npos, !source.policies_listed()) << told_;
    return known_of(source);
  }
  static Known known_of(const FileSource& source) {
    return {source.listed(ObjectKind::kGateway, "west"), source.listed(ObjectKind::kPod, "east"),
            source.listed(ObjectKind::kPod, "west"), source.policies_listed()};
  }
  std::string told_;
};

TEST_F(FileListing, AFolderThatIsReadWholeIsKnown) {
  EXPECT_EQ(known(), (Known{true, true, true, true})) << "it is known to have no west, too";
}

TEST_F(FileListing, AnEmptyFolderMayNotBeMounted) {
  hub_.remove("hub/fleet");
  hub_.remove("hub/clusters");
  EXPECT_EQ(known(), Known{});
}

TEST_F(FileListing, AFolderThatIsMissingSaysNothingOfItsObjects) {
  hub_.remove("hub/clusters");
  EXPECT_EQ(known(), (Known{true, false, false, true})) << "a hub of the fleet's objects alone has no policies";
  hub_.write("hub/clusters", "no folder");
  EXPECT_EQ(known(), (Known{true, false, false, false}));
}

TEST_F(FileListing, AFileThatCannotBeReadMayHaveAnythingOfItsCluster) {
  ASSERT_EQ(mkfifo(hub_.path("hub/clusters/east/more.yaml").c_str(), 0600), 0);
  EXPECT_EQ(known(), (Known{true, false, true, false}));
  hub_.move("hub/clusters/east/more.yaml", "hub/fleet/more.yaml");
  EXPECT_EQ(known(), (Known{false, true, true, true}));
}

TEST_F(FileListing, AnEmptyFileOrATextThatIsNoneMayHaveHadAnything) {
  for (const char* text : {"", "\n", "a: [b\n"}) {
    hub_.write("hub/clusters/east/more.yaml", text);
    EXPECT_EQ(known(), (Known{true, false, true, false})) << text;
  }
}

TEST_F(FileListing, AnInvalidObjectIsOneOfItsKind) {
  hub_.write("hub/clusters/east/more.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: c}\nstatus: {podIP: x}\n");
  EXPECT_EQ(known(), (Known{true, false, true, true}));
}

TEST_F(FileListing, PoliciesThatWereKnownStaySo) {
  start();
  EXPECT_TRUE(source_.policies_listed());
  hub_.write("hub/clusters/east/pods.yaml", "");
  wait_until([&] { return problems().find("the file is empty") != std::string::npos; });
  EXPECT_TRUE(source_.policies_listed());
  EXPECT_FALSE(source_.listed(ObjectKind::kPod, "east"));
}

}  // namespace
}  // namespace isthmus
