// What other users can put in the way of the connection table, and what must come of it.
#include "dataplane/conntrack/state_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "dataplane/conntrack/flow_mapping.h"
#include "test/unit/conntrack/temporary_directory.h"

namespace isthmus::flow_test {
namespace {

namespace fs = std::filesystem;

struct StateFileTest : testing::Test {
  FlowMapping::Options options() const {
    return {.name = "test", .directory = directory.path(), .keep_state = true, .connections = 100, .blocks = 300};
  }
  std::string own() const { return directory.path() + "/isthmus"; }
  std::string path() const { return state_file_path(directory.path(), "test"); }
  // A file that is not ours to write, and its contents.
  std::string precious() const {
    const std::string file = directory.path() + "/precious";
    std::ofstream(file) << "data";
    return file;
  }
  static std::string contents(const std::string& file) {
    std::string text;
    std::getline(std::ifstream(file), text);
    return text;
  }
  static mode_t mode(const std::string& file) {
    struct stat info {};
    return stat(file.c_str(), &info) == 0 ? info.st_mode & 0777 : 0;
  }
  // A start with a file in place that must not be used: it is replaced, told, and the next start adopts.
  void expect_replaced(const std::string& reason) const {
    {
      auto mapping = FlowMapping::open(options());
      ASSERT_TRUE(mapping.ok()) << mapping.error().text();
      EXPECT_EQ(mapping->start(), StateStart::kDiscarded);
      EXPECT_EQ(mapping->start_reason(), path() + " " + reason);
    }
    EXPECT_EQ(FlowMapping::open(options())->start(), StateStart::kAdopted);
  }
  TemporaryDirectory directory;
};

TEST_F(StateFileTest, DirectoryAndFileAreOursAlone) {
  ASSERT_TRUE(FlowMapping::open(options()).ok());
  EXPECT_EQ(mode(own()), 0700u);
  EXPECT_EQ(mode(path()), 0600u);
}

TEST_F(StateFileTest, HardLinkToAnotherFileIsReplacedAndTheFileUntouched) {
  ASSERT_TRUE(FlowMapping::open(options()).ok());
  fs::remove(path());
  const std::string target = precious();
  fs::permissions(target, fs::perms::owner_read | fs::perms::owner_write);
  fs::create_hard_link(target, path());
  expect_replaced("had 2 links");
  EXPECT_EQ(contents(target), "data");
}

TEST_F(StateFileTest, SymbolicLinkIsReplacedAndTheFileUntouched) {
  ASSERT_TRUE(FlowMapping::open(options()).ok());
  fs::remove(path());
  const std::string target = precious();
  fs::create_symlink(target, path());
  expect_replaced("was not a regular file");
  EXPECT_EQ(contents(target), "data");
}

TEST_F(StateFileTest, FileThatOthersMayOpenIsReplaced) {
  ASSERT_TRUE(FlowMapping::open(options()).ok());
  fs::permissions(path(), fs::perms::others_read, fs::perm_options::add);
  expect_replaced("was open to other users");
}

TEST_F(StateFileTest, FileOfAnotherUserIsReplaced) {
  if (geteuid() != 0) {
    GTEST_SKIP() << "needs root";
  }
  ASSERT_TRUE(FlowMapping::open(options()).ok());
  ASSERT_EQ(chown(path().c_str(), 65534, 65534), 0);
  expect_replaced("belonged to user 65534");
}

TEST_F(StateFileTest, DirectoryThatWasOpenToOthersIsClosed) {
  fs::create_directory(own());
  fs::permissions(own(), fs::perms::all);
  ASSERT_TRUE(FlowMapping::open(options()).ok());
  EXPECT_EQ(mode(own()), 0700u);
}

// Whoever takes the name first must not be able to prevent a start, nor have us write where he can.
TEST_F(StateFileTest, NameTakenByAnotherUserMeansATableThatIsNotKept) {
  if (geteuid() != 0) {
    GTEST_SKIP() << "needs root";
  }
  const auto expect_not_kept = [&](const std::string& reason) {
    auto mapping = FlowMapping::open(options());
    ASSERT_TRUE(mapping.ok()) << mapping.error().text();
    EXPECT_EQ(mapping->start(), StateStart::kNotKept);
    EXPECT_NE(mapping->start_reason().find(own() + reason), std::string::npos) << mapping->start_reason();
    mapping->connection(99).shared.lease = 1;
  };
  fs::create_directory(own());
  ASSERT_EQ(chown(own().c_str(), 65534, 65534), 0);
  expect_not_kept(" belongs to user 65534");
  EXPECT_TRUE(fs::is_empty(own()));
  fs::remove(own());
  std::ofstream(own()) << "squatted";
  expect_not_kept(" is not a directory");
  fs::remove(own());
  fs::create_directory(directory.path() + "/elsewhere");
  fs::create_directory_symlink(directory.path() + "/elsewhere", own());
  expect_not_kept(" is not a directory");
  EXPECT_TRUE(fs::is_empty(directory.path() + "/elsewhere"));
}

}  // namespace
}  // namespace isthmus::flow_test
