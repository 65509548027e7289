#include "control/source/etcd/paced_client.h"

#include <algorithm>
#include <utility>

namespace isthmus {

// The handle of a call. It waits in the queue until the inner call is started.
struct PacedClient::Read final : EtcdCall {
  ~Read() override {
    if (owner != nullptr && call == nullptr) {
      owner->waiting_.remove(this);
    }
  }
  PacedClient* owner = nullptr;
  EtcdRange range;
  std::int64_t limit = 0, revision = 0;
  OnRange done;
  OnFailure failed;
  EtcdCallHandle call;
};

PacedClient::PacedClient(EtcdLoop& loop, EtcdClient& client, unsigned per_second)
    : client_(client), per_second_(per_second), tokens_(per_second), filled_(EtcdLoop::Clock::now()), timer_(loop) {}

PacedClient::~PacedClient() {
  for (Read* read : waiting_) {
    read->owner = nullptr;
  }
}

bool PacedClient::take_token() {
  if (per_second_ == 0) {
    return true;
  }
  const auto now = EtcdLoop::Clock::now();
  tokens_ = std::min(per_second_, tokens_ + std::chrono::duration<double>(now - filled_).count() * per_second_);
  filled_ = now;
  if (tokens_ < 1) {
    return false;
  }
  tokens_ -= 1;
  return true;
}

EtcdCallHandle PacedClient::range(const EtcdRange& range, std::int64_t limit, std::int64_t revision, OnRange done,
                                  OnFailure failed) {
  auto read = std::make_unique<Read>();
  read->owner = this;
  read->range = range;
  read->limit = limit;
  read->revision = revision;
  read->done = std::move(done);
  read->failed = std::move(failed);
  if (waiting_.empty() && take_token()) {
    start(*read);
  } else {
    waiting_.push_back(read.get());
    start_waiting();
  }
  return read;
}

void PacedClient::start(Read& read) {
  read.call = client_.range(read.range, read.limit, read.revision, std::move(read.done), std::move(read.failed));
}

void PacedClient::start_waiting() {
  while (!waiting_.empty() && take_token()) {
    Read* read = waiting_.front();
    waiting_.pop_front();
    start(*read);
  }
  if (!waiting_.empty()) {
    const std::chrono::duration<double> until_next((1 - tokens_) / per_second_);
    timer_.set(std::chrono::ceil<std::chrono::milliseconds>(until_next), [this] { start_waiting(); });
  }
}

}  // namespace isthmus
