#include "dataplane/conntrack/flow_mapping.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>

#include "dataplane/conntrack/state_file.h"
#include "test/unit/conntrack/temporary_directory.h"

namespace isthmus::flow_test {
namespace {

struct FlowMappingTest : testing::Test {
  FlowMapping::Options options() const {
    return {.name = "test", .directory = directory.path(), .keep_state = true, .connections = 100, .blocks = 300};
  }
  std::string path() const { return state_file_path(directory.path(), "test"); }
  // Inverts the byte at `offset` of the file: whatever it was, it differs now.
  void damage(std::streamoff offset) const {
    std::fstream file(path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(offset);
    const int byte = file.get();
    file.seekp(offset);
    file.put(static_cast<char>(~byte));
  }
  TemporaryDirectory directory;
};

TEST_F(FlowMappingTest, NewFileIsFreshWithoutAReasonAndPrivate) {
  auto mapping = FlowMapping::open(options());
  ASSERT_TRUE(mapping.ok()) << mapping.error().text();
  EXPECT_NE(mapping->start(), StateStart::kAdopted);
  EXPECT_EQ(mapping->start_reason(), "");
  struct stat info {};
  ASSERT_EQ(stat(path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(info.st_blocks * 512 >= info.st_size, true) << "the space is reserved";
}

TEST_F(FlowMappingTest, ContentsSurviveReopening) {
  {
    auto mapping = FlowMapping::open(options());
    ASSERT_TRUE(mapping.ok());
    mapping->connection(99).shared.lease = 0xabcd;
    mapping->block(300).encap_peer = PeerId{17};
    mapping->epochs()[4095] = 3;
  }
  auto mapping = FlowMapping::open(options());
  ASSERT_TRUE(mapping.ok());
  EXPECT_EQ(mapping->start(), StateStart::kAdopted);
  EXPECT_EQ(mapping->connection(99).shared.lease, 0xabcdu);
  EXPECT_EQ(mapping->block(300).encap_peer, PeerId{17});
  EXPECT_EQ(mapping->epochs()[4095], 3u);
}

TEST_F(FlowMappingTest, ClockContinuesAfterReopening) {
  const Nanoseconds then{10'000'000'000'000'000};
  Seconds first;
  {
    auto mapping = FlowMapping::open(options());
    first = mapping->seconds_at(then);
  }
  EXPECT_EQ(FlowMapping::open(options())->seconds_at(then), first);
}

TEST_F(FlowMappingTest, SecondEngineOfTheSameNameIsRejectedWithNameAndProcess) {
  auto first = FlowMapping::open(options());
  auto second = FlowMapping::open(options());
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().text().find("another engine named 'test'"), std::string::npos) << second.error().text();
  EXPECT_NE(second.error().text().find(std::to_string(getpid())), std::string::npos) << second.error().text();
  EXPECT_NE(second.error().text().find(path()), std::string::npos);
  auto other = options();
  other.name = "other";
  EXPECT_TRUE(FlowMapping::open(other).ok());
}

TEST_F(FlowMappingTest, BesideARunningEngineItIsTheSameTableAndIsTakenWithThatOnesLockOrAfterItsEnd) {
  auto options_beside = options();
  options_beside.beside = true;
  EXPECT_FALSE(FlowMapping::open(options_beside).ok()) << "none runs";
  auto running = std::make_unique<Result<FlowMapping>>(FlowMapping::open(options()));
  ASSERT_TRUE(running->ok());
  auto first = std::make_unique<Result<FlowMapping>>(FlowMapping::open(options_beside));
  Result<FlowMapping>& beside = *first;
  ASSERT_TRUE(beside.ok()) << beside.error().text();
  EXPECT_EQ(beside->start(), StateStart::kAdopted);
  beside->epochs()[7].fetch_add(1);
  EXPECT_EQ((*running)->epochs()[7].load(), beside->epochs()[7].load());
  EXPECT_FALSE(beside->take(-1, options_beside).ok()) << "its engine runs";
  ASSERT_TRUE(beside->take((*running)->file(), options_beside).ok());
  running.reset();
  EXPECT_FALSE(FlowMapping::open(options()).ok()) << "the lock stays with who has taken it";
  auto next = FlowMapping::open(options_beside);
  ASSERT_TRUE(next.ok());
  first.reset();
  EXPECT_TRUE(next->take(-1, options_beside).ok());
  EXPECT_FALSE(FlowMapping::open(options()).ok());
}

TEST_F(FlowMappingTest, BesideARunningEngineNothingIsDiscarded) {
  auto running = FlowMapping::open(options());
  auto larger = options();
  larger.connections = 101;
  larger.beside = true;
  auto beside = FlowMapping::open(larger);
  ASSERT_FALSE(beside.ok());
  EXPECT_NE(beside.error().text().find("capacity was 100, is 101"), std::string::npos) << beside.error().text();
  auto same = options();
  same.beside = true;
  auto other_table = options();
  other_table.name = "other";
  auto other = FlowMapping::open(other_table);
  ASSERT_TRUE(other.ok());
  auto joined = FlowMapping::open(same);
  ASSERT_TRUE(joined.ok());
  EXPECT_FALSE(joined->take(other->file(), same).ok()) << "another table's descriptor";
}

TEST_F(FlowMappingTest, OtherCapacityStartsFreshAndGivesTheReason) {
  { auto mapping = FlowMapping::open(options()); }
  auto larger = options();
  larger.connections = 200;
  {
    auto mapping = FlowMapping::open(larger);
    ASSERT_TRUE(mapping.ok());
    EXPECT_NE(mapping->start(), StateStart::kAdopted);
    EXPECT_EQ(mapping->start_reason(), "capacity was 100, is 200");
  }
  larger.connections = 199;  // the same file size
  EXPECT_EQ(FlowMapping::open(larger)->start_reason(), "capacity was 200, is 199");
}

TEST_F(FlowMappingTest, DamagedHeaderStartsFreshWithEmptyContents) {
  {
    auto mapping = FlowMapping::open(options());
    mapping->connection(0).shared.checksum = 77;
  }
  for (const std::streamoff offset : {0, 9, 20, 48, 52, 60, 64, 70, 76, 88}) {
    damage(offset);
    auto mapping = FlowMapping::open(options());
    ASSERT_TRUE(mapping.ok());
    EXPECT_NE(mapping->start(), StateStart::kAdopted) << "offset " << offset;
    EXPECT_NE(mapping->start_reason(), "") << "offset " << offset;
    EXPECT_EQ(mapping->connection(0).shared.checksum, 0u);
  }
}

TEST_F(FlowMappingTest, FileOfAnotherSizeIsReplaced) {
  ASSERT_TRUE(FlowMapping::open(options()).ok());
  std::filesystem::resize_file(path(), 5);
  {
    auto mapping = FlowMapping::open(options());
    ASSERT_TRUE(mapping.ok());
    EXPECT_NE(mapping->start(), StateStart::kAdopted);
    EXPECT_EQ(mapping->start_reason(), "the file's size does not match");
  }
}

TEST_F(FlowMappingTest, MissingDirectoryAndBadNameAreErrorsWithAFix) {
  auto missing = options();
  missing.directory += "/none";
  auto result = FlowMapping::open(missing);
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().fix, "");
  auto bad = options();
  bad.name = "../escape";
  EXPECT_FALSE(FlowMapping::open(bad).ok());
}

TEST_F(FlowMappingTest, FullFileSystemIsAnErrorAtOpen) {
  auto huge = options();
  huge.directory = "/dev/shm";
  huge.name = "ist-huge-" + std::to_string(getpid());
  huge.connections = 1u << 26;
  huge.blocks = 1u << 31;  // a quarter of a terabyte
  auto result = FlowMapping::open(huge);
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().what.find("MiB"), std::string::npos) << result.error().text();
  const std::string file = state_file_path(huge.directory, huge.name);
  EXPECT_EQ(std::filesystem::file_size(file), 0u) << "reserved space is released";
  std::filesystem::remove(file);
  std::error_code still_in_use;
  std::filesystem::remove(std::filesystem::path(file).parent_path(), still_in_use);
}

TEST_F(FlowMappingTest, AnonymousMappingLeavesNoFile) {
  auto o = options();
  o.keep_state = false;
  auto mapping = FlowMapping::open(o);
  ASSERT_TRUE(mapping.ok());
  EXPECT_NE(mapping->start(), StateStart::kAdopted);
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
  EXPECT_TRUE(FlowMapping::open(o).ok()) << "any number of them";
}

// In a private mount namespace, so that no mount is left behind.
TEST_F(FlowMappingTest, TableUsesHugePagesWhereTheFileSystemHasThem) {
  if (unshare(CLONE_NEWNS) != 0 || mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("tmpfs", directory.path().c_str(), "tmpfs", 0, "huge=within_size,size=256m") != 0) {
    GTEST_SKIP() << "cannot mount a tmpfs with huge pages: " << std::strerror(errno);
  }
  auto o = options();
  o.connections = 100'000;
  o.blocks = 200'000;
  {
    auto mapping = FlowMapping::open(o);
    ASSERT_TRUE(mapping.ok()) << mapping.error().text();
    EXPECT_GE(mapping->bytes(), 100'000 * sizeof(Connection) + 200'000 * sizeof(DirectionBlock));
    EXPECT_GT(mapping->huge_page_bytes(), 0u);
    EXPECT_LE(mapping->huge_page_bytes(), mapping->bytes());
  }
  auto adopted = FlowMapping::open(o);
  EXPECT_TRUE(adopted.ok() && adopted->start() == StateStart::kAdopted);
  EXPECT_GT(adopted->huge_page_bytes(), 0u);
  umount2(directory.path().c_str(), MNT_DETACH);
}

}  // namespace
}  // namespace isthmus::flow_test
