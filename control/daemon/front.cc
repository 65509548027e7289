#include "control/daemon/front.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>

namespace isthmus {
namespace {

[[noreturn]] void exit_as(pid_t gateway) {
  int status = 0;
  while (::waitpid(gateway, &status, 0) < 0 && errno == EINTR) {
  }
  ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

// `pipe`: readable when the gateway goes on without us, closed when it has ended.
[[noreturn]] void stand_in_front(pid_t gateway, int pipe, const sigset_t& signals) {
  for (;;) {
    const int signal = ::sigwaitinfo(&signals, nullptr);
    if (signal == SIGCHLD) {
      siginfo_t ended{};
      if (::waitid(P_PID, static_cast<id_t>(gateway), &ended, WEXITED | WNOHANG | WNOWAIT) == 0 &&
          ended.si_pid == gateway) {
        exit_as(gateway);
      }
    } else if (signal > 0) {
      ::kill(gateway, signal);
      char said = 0;
      if (signal != SIGHUP) {
        while (::read(pipe, &said, 1) < 0 && errno == EINTR) {
        }
        if (said != 0) {
          ::_exit(EXIT_SUCCESS);
        }
        exit_as(gateway);
      }
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
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) {
    ::sigaddset(&signals, signal);
  }
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return Error{std::string("cannot make a pipe: ") + std::strerror(errno), "handover.wait",
                 "write handover.wait: 0s"};
  }
  ::pthread_sigmask(SIG_BLOCK, &signals, &before);
  const pid_t gateway = ::fork();
  if (gateway > 0) {
    ::close(ends[1]);
    stand_in_front(gateway, ends[0], signals);
  }
  const int error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::close(ends[0]);
  pipe_ = ends[1];
  if (gateway < 0) {
    return Error{std::string("cannot make a process for the gateway: ") + std::strerror(error), "handover.wait",
                 "write handover.wait: 0s, or let this process make others"};
  }
  return Ok{};
}

void Front::goes_on() {
  if (pipe_ >= 0) {
    const char word = 1;
    static_cast<void>(::write(pipe_, &word, 1) == 1);
  }
}

}  // namespace isthmus
