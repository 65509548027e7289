// Holders: how many connections each source endpoint and each peer has in the table, so that who takes too many can be
// told from the others.
//
// They are counted by a keyed hash, in numbers that all workers share: two that collide are counted as one. A number
// keeps its half-open connections in the lower half of a word and all of them in the upper, so that a new connection
// costs one addition for its source and one for its peer. Threads: any. Nothing is allocated after construction.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "dataplane/base/types.h"
#include "dataplane/packet/flow_key.h"

namespace isthmus {

// Who opens a connection: the numbers of its source endpoint and of the other cluster, or the node of our own, that it
// comes from. 0: nobody in particular.
struct Holder {
  std::uint16_t source = 0, peer = 0;
};

class Holders {
 public:
  Holders();

  // `cluster`: another one than ours; kNoCluster: it comes from the tunnel of `peer`, if from the fabric. `vouched`: a
  // load balancer there sends for the source (ConnectionShared), which is then told from the same address that opens
  // connections itself.
  [[nodiscard]] Holder holder_of(const FlowKey& opening, Side from, const IpAddress& peer, ClusterId cluster,
                                 bool vouched) const noexcept;
  // Its first half: of the source endpoint alone.
  [[nodiscard]] std::uint16_t source_of(Realm realm, const IpAddress& address) const noexcept {
    return number_of(address, realm.value());
  }
  [[nodiscard]] std::uint32_t half_open(std::uint16_t number) const noexcept {
    return static_cast<std::uint32_t>(load(number));
  }
  [[nodiscard]] std::uint32_t all(std::uint16_t number) const noexcept {
    return static_cast<std::uint32_t>(load(number) >> kAllShift);
  }

  void add_half_open(Holder holder) noexcept { add(holder, kOne + 1); }
  void add_open(Holder holder) noexcept { add(holder, kOne); }
  void open(Holder holder) noexcept { add(holder, -std::uint64_t{1}); }
  void remove_half_open(Holder holder) noexcept { add(holder, -(kOne + 1)); }
  void remove_open(Holder holder) noexcept { add(holder, -kOne); }

 private:
  static constexpr std::size_t kNumbers = 16384;
  static constexpr unsigned kAllShift = 32;
  static constexpr std::uint64_t kOne = std::uint64_t{1} << kAllShift;

  [[nodiscard]] std::uint16_t number_of(const IpAddress& address, std::uint64_t kind) const noexcept;
  [[nodiscard]] std::uint64_t load(std::uint16_t number) const noexcept {
    return number == 0 ? 0 : words_[number].load(std::memory_order_relaxed);
  }
  void add(Holder holder, std::uint64_t amount) noexcept {  // modulo 2^64
    for (const std::uint16_t number : {holder.source, holder.peer}) {
      if (number != 0) {
        words_[number].fetch_add(amount, std::memory_order_relaxed);
      }
    }
  }

  std::array<std::uint64_t, 3> secrets_;
  std::unique_ptr<std::atomic<std::uint64_t>[]> words_;
};

}  // namespace isthmus
