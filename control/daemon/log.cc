#include "control/daemon/log.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <spdlog/async_logger.h>
#include <spdlog/details/null_mutex.h>
#include <spdlog/details/thread_pool.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <csignal>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

namespace isthmus {
namespace {

constexpr std::size_t kQueue = 2048;  // lines
constexpr auto kGrace = std::chrono::seconds(1);
constexpr int kLook = 100;  // milliseconds, between looks at the time and the losses
// A line is written in pieces that a pipe takes whole once poll() says that it can be written.
constexpr std::size_t kPiece = PIPE_BUF;

using LogClock = std::chrono::steady_clock;

// Read at any time; of the one Log that exists.
std::atomic<std::uint64_t> lines_written{0}, lines_lost{0};
// Until when a reader of stderr is waited for.
std::atomic<LogClock::time_point> wait_until{LogClock::time_point::max()};

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::kTrace:
      return spdlog::level::trace;
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      break;
  }
  return spdlog::level::err;
}

std::string_view colour_of(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::err:
      return "\033[31m\033[1m";
    case spdlog::level::warn:
      return "\033[33m\033[1m";
    case spdlog::level::info:
      return "\033[32m";
    default:
      return "\033[36m";
  }
}

// Of a terminal nobody says how much it takes: it is opened once more, so that writing to it does not block, without
// changing that for the programs that share it. -1: it cannot be opened, or stderr is none.
int open_terminal() {
  return ::isatty(STDERR_FILENO) == 1 ? ::open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
}

// Writes to stderr, in the log's thread.
class StderrSink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  // `queue` must outlive its thread's last line.
  explicit StderrSink(spdlog::details::thread_pool& queue) : queue_(queue) {}
  ~StderrSink() override {
    if (opened_ >= 0) {
      ::close(opened_);
    }
  }
  StderrSink(const StderrSink&) = delete;
  StderrSink& operator=(const StderrSink&) = delete;

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    count_lost();
    if (const std::uint64_t lost = lines_lost; lost != told_) {
      const std::string text = "log: " + std::to_string(lost - told_) + " lines were lost: nobody read stderr";
      if (write(line_of({message.logger_name, spdlog::level::warn, text}))) {
        told_ = lost;
      }
    }
    if (write(line_of(message))) {
      ++lines_written;
    } else {
      ++not_written_;
      count_lost();
    }
  }
  void flush_() override {}

  [[nodiscard]] std::string line_of(const spdlog::details::log_msg& message) {
    spdlog::memory_buf_t text;
    formatter_->format(message, text);
    std::string line(text.data(), text.size());
    if (terminal_ && message.color_range_end > message.color_range_start) {
      line.insert(message.color_range_end, "\033[m");
      line.insert(message.color_range_start, colour_of(message.level));
    }
    return line;
  }
  void count_lost() { lines_lost = queue_.overrun_counter() + not_written_; }

  // False: nobody has read in time, or stderr cannot be written at all.
  [[nodiscard]] bool write(std::string_view text) {
    while (!text.empty()) {
      if (!wait_for_room()) {
        return false;
      }
      const ssize_t put = ::write(fd_, text.data(), std::min(text.size(), kPiece));
      if (put > 0) {
        text.remove_prefix(static_cast<std::size_t>(put));
      } else if (put < 0 && errno == EAGAIN) {
        if (LogClock::now() >= wait_until.load()) {
          return false;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(kLook));  // a terminal that poll() calls writable
      } else if (put < 0 && errno != EINTR) {
        return false;
      }
    }
    return true;
  }
  [[nodiscard]] bool wait_for_room() {
    for (;;) {
      const bool over = LogClock::now() >= wait_until.load();
      pollfd entry{fd_, POLLOUT, 0};
      if (::poll(&entry, 1, over ? 0 : kLook) > 0) {
        return true;  // an error is write()'s to tell
      }
      if (over) {
        return false;
      }
      count_lost();
    }
  }

  spdlog::details::thread_pool& queue_;
  const bool terminal_ = ::isatty(STDERR_FILENO) == 1;
  const int opened_ = open_terminal();
  const int fd_ = opened_ >= 0 ? opened_ : STDERR_FILENO;
  std::uint64_t not_written_ = 0, told_ = 0;
};

// Signals are for the control thread.
std::shared_ptr<spdlog::details::thread_pool> start_thread() {
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  std::shared_ptr<spdlog::details::thread_pool> pool;
  try {
    pool = std::make_shared<spdlog::details::thread_pool>(kQueue, 1);
  } catch (const std::system_error&) {  // no thread
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return pool;
}

}  // namespace

struct Log::Impl {
  std::shared_ptr<spdlog::details::thread_pool> pool;
};

Log::Log(const GatewayConfig& config) : impl_(std::make_unique<Impl>()) {
  lines_lost = lines_written = 0;
  wait_until = LogClock::time_point::max();
  impl_->pool = start_thread();
  std::shared_ptr<spdlog::logger> logger;
  if (impl_->pool != nullptr) {
    logger = std::make_shared<spdlog::async_logger>("isthmus", std::make_shared<StderrSink>(*impl_->pool), impl_->pool,
                                                    spdlog::async_overflow_policy::overrun_oldest);
  } else {
    logger = std::make_shared<spdlog::logger>("isthmus", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  }
  logger->set_level(spdlog_level(config.log_level));
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%l%$ " + config.name + ": %v");
  spdlog::set_default_logger(std::move(logger));
}

Log::~Log() {
  // Nobody may add lines behind the one that ends the thread, which writes with this until then.
  const std::shared_ptr<spdlog::logger> last = spdlog::default_logger();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("ended"));
  wait_until = LogClock::now() + kGrace;
  impl_->pool.reset();  // waits for the thread
}

std::uint64_t log_lines_lost() { return lines_lost; }
std::uint64_t log_lines_written() { return lines_written; }

}  // namespace isthmus
