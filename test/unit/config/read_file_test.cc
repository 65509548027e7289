#include "config/files/read_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

namespace isthmus {
namespace {

using testing::HasSubstr;

class ReadFile : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/ist-read-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  [[nodiscard]] std::string path(const std::string& name) const { return folder_ + "/" + name; }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path(name), std::ios::binary) << text;
    return path(name);
  }

  std::string folder_;
};

// The error's "where: what (fix)"; fails where the file was read.
std::string error_of(const std::string& path, std::size_t max_bytes = kMaxConfigBytes) {
  const auto text = read_file(path, max_bytes);
  EXPECT_FALSE(text.ok()) << path;
  return text.ok() ? "" : text.error().text();
}

TEST_F(ReadFile, ReturnsEveryByte) {
  const std::string bytes("a\0\r\n\xff", 5);
  const auto text = read_file(write("file", bytes), 5);
  ASSERT_TRUE(text.ok()) << text.error().text();
  EXPECT_EQ(*text, bytes);
  EXPECT_EQ(*read_file(write("empty", ""), 0), "");
  const std::string large(300'000, 'x');
  EXPECT_EQ(*read_file(write("large", large), kMaxConfigBytes), large);
}

TEST_F(ReadFile, FollowsLinks) {
  write("target", "text");
  std::filesystem::create_symlink("target", path("link"));
  EXPECT_EQ(*read_file(path("link"), 100), "text");
}

TEST_F(ReadFile, AFolderIsAnError) {
  EXPECT_EQ(error_of(folder_),
            folder_ + ": cannot be read: it is a folder (name a regular file that this user may read)");
}

TEST_F(ReadFile, APipeWithoutAWriterIsAnErrorAtOnce) {
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  EXPECT_THAT(error_of(path("pipe")), HasSubstr("it is a pipe (name a regular file"));
}

TEST_F(ReadFile, APipeWithAWriterIsAnErrorToo) {
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  const int both = open(path("pipe").c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(both, 0);
  ASSERT_EQ(::write(both, "x", 1), 1);
  EXPECT_THAT(error_of(path("pipe")), HasSubstr("it is a pipe"));
  close(both);
}

TEST_F(ReadFile, ADeviceIsAnErrorHoweverMuchItWouldGive) {
  EXPECT_THAT(error_of("/dev/zero"), HasSubstr("it is a device (name a regular file"));
  EXPECT_THAT(error_of("/dev/null"), HasSubstr("it is a device"));
}

TEST_F(ReadFile, ASocketIsAnError) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_GE(fd, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path("socket").c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_THAT(error_of(path("socket")), HasSubstr("it is a socket"));
  close(fd);
}

TEST_F(ReadFile, AMissingFileIsNamedWithWhatToDo) {
  EXPECT_EQ(error_of(path("none")),
            path("none") + ": cannot be read: No such file or directory (name a file that exists)");
  write("file", "");
  EXPECT_THAT(error_of(path("file/below")), HasSubstr("name a file that exists"));
  EXPECT_THAT(error_of(""), HasSubstr("name a file that exists"));
  std::filesystem::create_symlink("loop", path("loop"));
  EXPECT_THAT(error_of(path("loop")), HasSubstr("check the path"));
  EXPECT_EQ(read_regular_file(path("none"), 1).error, ENOENT);
}

TEST_F(ReadFile, AFileWithoutPermissionSaysSo) {
  ASSERT_EQ(chmod(write("secret", "x").c_str(), 0), 0);
  // Root may read everything, so another user asks.
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    constexpr uid_t kNobody = 65534;
    const bool other = geteuid() != 0 || setresuid(kNobody, kNobody, kNobody) == 0;
    const auto text = read_file(path("secret"), 100);
    const bool says_so = !text.ok() && text.error().fix == "let the user that isthmus runs as read it";
    _exit(other && says_so ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(ReadFile, AFileLargerThanTheBoundIsAnError) {
  write("file", "12345");
  EXPECT_THAT(error_of(path("file"), 4), HasSubstr("it is larger than 4 bytes (name a file of at most 4 bytes)"));
  std::filesystem::resize_file(path("file"), kMaxConfigBytes + 1);
  EXPECT_THAT(error_of(path("file")), HasSubstr("it is larger than 1 MiB"));
  // Sparse: far more than memory has.
  std::filesystem::resize_file(path("file"), std::uintmax_t{1} << 42);
  EXPECT_THAT(error_of(path("file"), kMaxManifestBytes), HasSubstr("it is larger than 64 MiB"));
}

// Files of /proc are regular and of no size, and have content all the same: as if they grew after they were opened.
TEST_F(ReadFile, TheBoundHoldsForWhatIsReadNotForWhatTheSizeSays) {
  struct stat status {};
  ASSERT_EQ(stat("/proc/self/status", &status), 0);
  ASSERT_TRUE(S_ISREG(status.st_mode) && status.st_size == 0);
  EXPECT_THAT(error_of("/proc/self/status", 10), HasSubstr("it is larger than 10 bytes"));
  EXPECT_THAT(*read_file("/proc/self/status", kMaxConfigBytes), HasSubstr("Name:"));
}

TEST_F(ReadFile, AFileThatGrowsWhileItIsReadEndsAtTheBound) {
  constexpr std::size_t kBound = std::size_t{1} << 20;
  const std::string file = write("growing", "");
  std::atomic<bool> done{false};
  std::thread writer([&] {
    std::ofstream out(file, std::ios::binary | std::ios::app);
    const std::string block(4096, 'x');
    for (std::size_t written = 0; written < 16 * kBound && !done; written += block.size()) {
      out << block << std::flush;
    }
  });
  for (bool refused = false; !refused;) {
    const auto text = read_file(file, kBound);
    refused = !text.ok();
    if (text) {
      EXPECT_LE(text->size(), kBound);
    } else {
      EXPECT_THAT(text.error().what, HasSubstr("it is larger than 1 MiB"));
    }
  }
  done = true;
  writer.join();
}

}  // namespace
}  // namespace isthmus
