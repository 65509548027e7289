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
constexpr std::uint64_t kSliceNs = 100'000;  // the shortest that the kernel accepts

// struct sched_attr of sched_setattr(2), in its first version; the kernel's header and the C library's cannot be
// included together.
struct SchedulingAttributes {
  std::uint32_t size = sizeof(SchedulingAttributes), policy = 0;
  std::uint64_t flags = 0;
  std::int32_t nice = 0;
  std::uint32_t priority = 0;
  std::uint64_t runtime = 0, deadline = 0, period = 0;  // runtime: for SCHED_OTHER the slice, in nanoseconds
};
static_assert(sizeof(SchedulingAttributes) == 48);

// A thread with a short slice preempts sooner when it wakes: by default it waits for the end of another's slice, at a
// timer tick up to 4 ms later. Linux before 6.12 ignores the request.
void request_short_slice() {
  SchedulingAttributes attributes;
  if (::syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0 || attributes.policy != SCHED_OTHER) {
    return;  // an operator chose another policy
  }
  attributes.runtime = kSliceNs;
  if (::syscall(SYS_sched_setattr, 0, &attributes, 0) != 0) {
    spdlog::debug("runs with the default scheduling slice: {}", std::strerror(errno));
  }
}

}  // namespace

void raise_priority() {
  if (::setpriority(PRIO_PROCESS, 0, kNice) != 0) {
    spdlog::debug("runs at the default priority: {}", std::strerror(errno));
  }
  request_short_slice();
}

}  // namespace isthmus
