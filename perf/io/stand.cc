#include "perf/io/stand.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <utility>

namespace isthmus::perf {
namespace {

constexpr char kEnd = 'e';  // an explicit end, because other stands' processes hold the link open too

bool serve(const std::string& name, const Stand::SetUp& set_up, int link) {
  pin_to(1);
  const Result<Stand::Answer> answer = set_up();
  if (!answer) {
    std::fprintf(stderr, "%s: %s\n", name.c_str(), answer.error().text().c_str());
    return false;
  }
  for (char request = 0; read(link, &request, 1) == 1 && request != kEnd;) {
    const double figure = (*answer)(request);
    if (write(link, &figure, sizeof figure) != sizeof figure) {
      break;
    }
  }
  return true;
}

}  // namespace

void pin_to(unsigned core) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(core, &cores);
  static_cast<void>(sched_setaffinity(0, sizeof cores, &cores));
}

Stand::Stand(std::string name, const SetUp& set_up) : name_(std::move(name)) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return;
  }
  link_ = UniqueFd(ends[0]);
  const UniqueFd far(ends[1]);
  process_ = fork();
  if (process_ == 0) {
    static_cast<void>(prctl(PR_SET_PDEATHSIG, SIGKILL));  // the link alone does not show that the parent was killed
    link_ = UniqueFd();
    _exit(serve(name_, set_up, far.get()) ? 0 : 1);
  }
}

Stand::~Stand() {
  if (process_ > 0) {
    static_cast<void>(write(link_.get(), &kEnd, 1) == 1);
    link_ = UniqueFd();
    waitpid(process_, nullptr, 0);
  }
}

double Stand::ask(char request) {
  double figure = 0;
  const bool answered = process_ > 0 && write(link_.get(), &request, 1) == 1 &&
                        read(link_.get(), &figure, sizeof figure) == sizeof figure;
  return answered ? figure : 0;
}

}  // namespace isthmus::perf
