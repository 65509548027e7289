#include "dataplane/publish/mailbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

namespace isthmus {
namespace {

void signal_fd(int fd) noexcept {
  const std::uint64_t one = 1;
  // EAGAIN: the other side is already being woken.
  [[maybe_unused]] const auto written = write(fd, &one, sizeof one);
}

}  // namespace

Mailbox::Mailbox() : worker_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}
Mailbox::~Mailbox() { close(worker_fd_); }

void Mailbox::flush(int control_fd) noexcept {
  if (wake_control_) {
    wake_control_ = false;
    signal_fd(control_fd);
  }
}

void Mailbox::acknowledge() noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = read(worker_fd_, &count, sizeof count);
}

bool Mailbox::send(const ProbeCommand& command) noexcept {
  if (!commands_.push(command)) {
    return false;
  }
  signal_fd(worker_fd_);
  return true;
}

void Mailbox::wake() noexcept { signal_fd(worker_fd_); }

}  // namespace isthmus
