#include "control/daemon/front.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <iterator>
#include <optional>
#include <string>

#include "control/daemon/service_manager.h"

namespace isthmus {
namespace {

[[noreturn]] void exit_as(pid_t gateway) {
  int status = 0;
  while (::waitpid(gateway, &status, 0) < 0 && errno == EINTR) {
  }
  ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

// How long the gateway may take to answer a signal that ends it, or to leave a core dump; then it hangs.
constexpr auto kEnd = std::chrono::seconds(60);
constexpr auto kAbort = std::chrono::seconds(10);
// How long it may take to end once the time for which it goes on is up.
constexpr auto kOverdue = std::chrono::seconds(20);
using Clock = std::chrono::steady_clock;

// The kernel ends this process then, even one that has been stopped.
void end_for_certain_in(std::chrono::seconds time) {
  timer_t timer{};
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGKILL;
  itimerspec once{};
  once.it_value.tv_sec = time.count();
  if (::timer_create(CLOCK_MONOTONIC, &event, &timer) == 0) {
    ::timer_settime(timer, 0, &once, nullptr);
  }
}

[[nodiscard]] int milliseconds_until(const std::optional<Clock::time_point>& time) {
  const auto left = time ? std::chrono::ceil<std::chrono::milliseconds>(*time - Clock::now()).count() : -1;
  return time ? static_cast<int>(std::max<std::int64_t>(left, 0)) : -1;
}

[[nodiscard]] bool has_ended(pid_t gateway) {
  siginfo_t ended{};
  return ::waitid(P_PID, static_cast<id_t>(gateway), &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         ended.si_pid == gateway;
}

// `pipe`: readable when the gateway goes on without us, closed when it ends. SIGABRT is the service manager's watchdog.
[[noreturn]] void stand_in_front(pid_t gateway, int pipe, int signals) {
  pollfd watched[] = {{signals, POLLIN, 0}, {-1, POLLIN, 0}};
  for (std::optional<Clock::time_point> hangs_at;;) {
    const int ready = ::poll(watched, std::size(watched), milliseconds_until(hangs_at));
    if (ready == 0 && hangs_at) {
      ::kill(gateway, SIGKILL);
      exit_as(gateway);
    }
    if ((watched[1].revents & POLLIN) != 0) {
      ::_exit(EXIT_SUCCESS);
    }
    if ((watched[1].revents & POLLHUP) != 0) {
      watched[1].fd = -1;
    }
    signalfd_siginfo info{};
    if ((watched[0].revents & POLLIN) == 0 ||
        ::read(signals, &info, sizeof info) != static_cast<ssize_t>(sizeof info)) {
      continue;
    }
    const auto signal = static_cast<int>(info.ssi_signo);
    if (signal == SIGCHLD) {
      if (has_ended(gateway)) {
        exit_as(gateway);
      }
      continue;
    }
    ::kill(gateway, signal);
    if (signal == SIGABRT) {
      hangs_at = Clock::now() + kAbort;
    } else if (signal != SIGHUP && !hangs_at) {
      hangs_at = Clock::now() + kEnd;
      watched[1].fd = pipe;
    }
  }
}

}  // namespace

Front::~Front() {
  if (pipe_ >= 0) {
    ::close(pipe_);
  }
}

Status Front::start() {
  std::array<int, 2> ends{};
  sigset_t signals, before;
  ::sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGABRT, SIGCHLD}) {
    ::sigaddset(&signals, signal);
  }
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return Error{std::string("cannot make a pipe: ") + std::strerror(errno), "handover.wait",
                 "write handover.wait: 0s"};
  }
  ::pthread_sigmask(SIG_BLOCK, &signals, &before);
  const int taken = ::signalfd(-1, &signals, SFD_CLOEXEC);
  const pid_t in_front = ::getpid();
  const pid_t gateway = taken < 0 ? -1 : ::fork();
  if (gateway > 0) {
    ::close(ends[1]);
    stand_in_front(gateway, ends[0], taken);
  }
  const int error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::close(ends[0]);
  if (taken >= 0) {
    ::close(taken);
  }
  inherit_watchdog(in_front);
  // One that has lost the process in front cannot be told anything, and would feed the watchdog of its successor.
  if (gateway == 0 && (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::getppid() != in_front)) {
    ::_exit(EXIT_FAILURE);
  }
  pipe_ = ends[1];
  if (gateway < 0) {
    return Error{std::string("cannot make a process for the gateway: ") + std::strerror(error), "handover.wait",
                 "write handover.wait: 0s, or let this process make others"};
  }
  return Ok{};
}

void Front::goes_on(std::chrono::milliseconds time) {
  if (pipe_ >= 0) {
    end_for_certain_in(std::chrono::ceil<std::chrono::seconds>(time) + kOverdue);
    ::prctl(PR_SET_PDEATHSIG, 0);
    const char word = 1;
    static_cast<void>(::write(pipe_, &word, 1) == 1);
  }
}

}  // namespace isthmus
