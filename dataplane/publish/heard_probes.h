// What each peer's last probe of this gateway said: only for telling a person, since nothing proves it.
// Threads: heard() any worker, said() control; lock-free.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "dataplane/api/engine.h"
#include "dataplane/publish/outstanding_probes.h"

namespace isthmus {

class HeardProbes {
 public:
  void heard(PeerId peer, ProbeSaid said) noexcept {
    if (peer.value() < OutstandingProbes::kPeers) {
      said_[peer.value()].store(said, std::memory_order_relaxed);
    }
  }
  [[nodiscard]] ProbeSaid said(PeerId peer) const noexcept {
    return peer.value() < OutstandingProbes::kPeers ? said_[peer.value()].load(std::memory_order_relaxed)
                                                    : ProbeSaid::kNothing;
  }

 private:
  std::unique_ptr<std::atomic<ProbeSaid>[]> said_ =
      std::make_unique<std::atomic<ProbeSaid>[]>(OutstandingProbes::kPeers);
};

}  // namespace isthmus
