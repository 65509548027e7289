#include "control/daemon/priority.h"

#include <sched.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

namespace isthmus {
namespace {

constexpr int kNice = -10;
constexpr std::uint64_t kTurnNs = 100'000;  // the shortest that the kernel knows

// struct sched_attr of sched_setattr(2), in its first version; the kernel's header and the C library's exclude each
// other.
struct SchedulingAttributes {
  std::uint32_t size = sizeof(SchedulingAttributes), policy = 0;
  std::uint64_t flags = 0;
  std::int32_t nice = 0;
  std::uint32_t priority = 0;
  std::uint64_t runtime = 0, deadline = 0, period = 0;  // runtime: of SCHED_OTHER the turn, nanoseconds
};
static_assert(sizeof(SchedulingAttributes) == 48);

// Whoever asks for a short turn is let in sooner when it wakes: by default it waits for the turn of another, which
// ends at a tick of the clock, up to 4 ms later. Linux before 6.12 takes no notice.
void ask_for_short_turns() {
  SchedulingAttributes attributes;
  if (::syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0 || attributes.policy != SCHED_OTHER) {
    return;  // an operator chose another policy
  }
  attributes.runtime = kTurnNs;
  if (::syscall(SYS_sched_setattr, 0, &attributes, 0) != 0) {
    spdlog::debug("runs with ordinary turns: {}", std::strerror(errno));
  }
}

}  // namespace

void raise_priority() {
  if (::setpriority(PRIO_PROCESS, 0, kNice) != 0) {
    spdlog::debug("runs at the ordinary priority: {}", std::strerror(errno));
  }
  ask_for_short_turns();
}

}  // namespace isthmus
