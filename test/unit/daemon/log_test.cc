// The log over a real pipe that nobody reads: callers go on, what is lost is counted and told.
#include "control/daemon/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <regex>
#include <sstream>
#include <string>
#include <thread>

namespace isthmus {
namespace {

// While it lives, stderr of this process is a pipe.
class StderrPipe {
 public:
  StderrPipe() : before_(::dup(STDERR_FILENO)) {
    EXPECT_EQ(::pipe2(ends_.data(), O_CLOEXEC), 0);
    ::signal(SIGPIPE, SIG_IGN);
    EXPECT_GE(::dup2(ends_[1], STDERR_FILENO), 0);
    ::close(ends_[1]);
  }
  ~StderrPipe() {
    restore();
    ::close(ends_[0]);
  }
  StderrPipe(const StderrPipe&) = delete;
  StderrPipe& operator=(const StderrPipe&) = delete;

  // Until not a byte more goes in.
  static void fill() {
    const int flags = ::fcntl(STDERR_FILENO, F_GETFL);
    ::fcntl(STDERR_FILENO, F_SETFL, flags | O_NONBLOCK);
    const std::string line = std::string(99, '.') + "\n";
    while (::write(STDERR_FILENO, line.data(), line.size()) > 0) {
    }
    while (::write(STDERR_FILENO, "\n", 1) > 0) {
    }
    ::fcntl(STDERR_FILENO, F_SETFL, flags);
  }
  // Everything until stderr is restored.
  [[nodiscard]] std::string read_all() const {
    std::string text;
    std::array<char, 4096> chunk{};
    for (ssize_t got = 0; (got = ::read(ends_[0], chunk.data(), chunk.size())) > 0;) {
      text.append(chunk.data(), static_cast<std::size_t>(got));
    }
    return text;
  }
  void restore() {
    if (before_ >= 0) {
      ::dup2(before_, STDERR_FILENO);
      ::close(std::exchange(before_, -1));
    }
  }

 private:
  int before_;
  std::array<int, 2> ends_{};
};

GatewayConfig some_config() {
  GatewayConfig config;
  config.name = "east-1";
  return config;
}

TEST(Log, WritesLinesWithTimeLevelAndGateway) {
  StderrPipe pipe;
  {
    const Log log(some_config());
    spdlog::warn("a {}", 1);
    spdlog::debug("not at this level");
    spdlog::info("{}", std::string(10'000, 'x'));
  }
  pipe.restore();
  std::istringstream lines(pipe.read_all());
  std::string first, second, rest;
  std::getline(lines, first);
  std::getline(lines, second);
  const std::regex warning(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} warning east-1: a 1)");
  EXPECT_TRUE(std::regex_match(first, warning)) << first;
  const std::string after_time = second.substr(std::min(second.find(' '), second.size()));
  EXPECT_EQ(after_time, " info east-1: " + std::string(10'000, 'x'));
  EXPECT_FALSE(std::getline(lines, rest)) << rest;
}

TEST(Log, AFullStderrHoldsNobodyUpAndEveryLineIsWrittenOrToldAsLost) {
  constexpr std::uint64_t kLines = 20'000;
  StderrPipe pipe;
  StderrPipe::fill();
  std::string text;
  std::thread reader;
  {
    const Log log(some_config());
    for (std::uint64_t i = 0; i < kLines; ++i) {
      spdlog::warn("line {}", i);
    }
    while (log_lines_lost() == 0) {
      std::this_thread::yield();
    }
    reader = std::thread([&] { text = pipe.read_all(); });
    spdlog::warn("the end");
    for (bool written = false; !written;) {  // as long as it takes: ~Log waits for a second only
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      written = log_lines_written() + log_lines_lost() == kLines + 1;
    }
  }
  pipe.restore();
  reader.join();
  std::uint64_t written = 0, lost = 0;
  std::istringstream lines(text);
  std::string last;
  for (std::string line; std::getline(lines, line);) {
    std::smatch told;
    if (std::regex_search(line, told, std::regex(R"(log: (\d+) lines were lost)"))) {
      lost += std::stoull(told[1]);
    } else if (line.find(" line ") != std::string::npos) {
      ++written;
    }
    last = line;
  }
  EXPECT_GT(written, 0U);
  EXPECT_EQ(lost, log_lines_lost());
  EXPECT_EQ(written + lost, kLines);
  EXPECT_NE(last.find("the end"), std::string::npos) << last;
}

TEST(Log, EndsWithoutAReaderToo) {
  StderrPipe pipe;
  StderrPipe::fill();
  {
    const Log log(some_config());
    for (int i = 0; i < 100; ++i) {
      spdlog::warn("line {}", i);
    }
  }
  EXPECT_EQ(log_lines_lost(), 100U);
}

// A terminal takes some bytes once it is said to be writable, not as many as a pipe.
TEST(Log, EndsOnATerminalThatNobodyReads) {
  const int reader = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  ASSERT_GE(reader, 0);
  ASSERT_EQ(::grantpt(reader), 0);
  ASSERT_EQ(::unlockpt(reader), 0);
  const int terminal = ::open(::ptsname(reader), O_RDWR | O_NOCTTY | O_CLOEXEC);
  ASSERT_GE(terminal, 0);
  const int before = ::dup(STDERR_FILENO);
  ::dup2(terminal, STDERR_FILENO);
  {
    const Log log(some_config());
    for (int i = 0; i < 1000; ++i) {
      spdlog::warn("line {} {}", i, std::string(1000, 'x'));
    }
  }
  ::dup2(before, STDERR_FILENO);
  EXPECT_EQ(log_lines_written() + log_lines_lost(), 1000U);
  EXPECT_GT(log_lines_lost(), 0U);
  for (const int fd : {reader, terminal, before}) {
    ::close(fd);
  }
}

}  // namespace
}  // namespace isthmus
