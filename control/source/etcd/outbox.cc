#include "control/source/etcd/outbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace isthmus {
namespace {

// Some 30 MB of changes. A blocked writer stops reading, so that the streams' flow control slows down the server.
constexpr std::size_t kMaxQueued = 65536;

}  // namespace

EtcdOutbox::EtcdOutbox() : event_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

EtcdOutbox::~EtcdOutbox() {
  if (event_ >= 0) {
    ::close(event_);
  }
}

void EtcdOutbox::put(std::vector<ObjectDelta>& deltas) {
  if (deltas.empty()) {
    return;
  }
  std::unique_lock<std::mutex> lock(mutex_);
  not_full_.wait(lock, [&] { return closed_ || deltas_.size() < kMaxQueued; });
  if (deltas_.empty()) {
    deltas_.swap(deltas);
  } else {
    deltas_.insert(deltas_.end(), std::make_move_iterator(deltas.begin()), std::make_move_iterator(deltas.end()));
  }
  deltas.clear();
  if (!std::exchange(signalled_, true)) {
    eventfd_write(event_, 1);
  }
}

void EtcdOutbox::set_view(std::vector<HubState> states, std::vector<SourceProblem> problems) {
  const std::lock_guard<std::mutex> lock(mutex_);
  states_ = std::move(states);
  const bool same = std::equal(problems_.begin(), problems_.end(), problems.begin(), problems.end(),
                               [](const SourceProblem& a, const SourceProblem& b) {
                                 return a.provenance.text() == b.provenance.text() && a.what == b.what;
                               });
  problems_ = std::move(problems);
  if (!same && !std::exchange(signalled_, true)) {
    eventfd_write(event_, 1);
  }
}

void EtcdOutbox::set_listed(EtcdListed listed) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (listed == listed_) {
    return;
  }
  listed_ = std::move(listed);
  listed_changed_ = true;
  if (!std::exchange(signalled_, true)) {
    eventfd_write(event_, 1);
  }
}

void EtcdOutbox::set_complete() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!std::exchange(complete_, true) && !std::exchange(signalled_, true)) {
    eventfd_write(event_, 1);
  }
}

void EtcdOutbox::close() {
  const std::lock_guard<std::mutex> lock(mutex_);
  closed_ = true;
  not_full_.notify_all();
}

EtcdOutbox::Batch EtcdOutbox::take() {
  Batch batch;
  const std::lock_guard<std::mutex> lock(mutex_);
  batch.deltas.swap(deltas_);
  batch.complete = complete_;
  if (std::exchange(listed_changed_, false)) {
    batch.listed = listed_;
  }
  if (std::exchange(signalled_, false)) {
    eventfd_t ignored = 0;
    eventfd_read(event_, &ignored);
  }
  not_full_.notify_all();
  return batch;
}

std::vector<HubState> EtcdOutbox::states() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return states_;
}

std::vector<SourceProblem> EtcdOutbox::problems() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return problems_;
}

}  // namespace isthmus
