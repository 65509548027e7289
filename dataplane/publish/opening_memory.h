// What workers remember of how connections to watched services open, so that control need not hear of every answer: the
// client that was answered last, and until when control wants to hear of answers. Services whose numbers share a cell
// are told of more than they need be. Threads: any. Owner: SharedState. Cannot fail.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "dataplane/api/openings.h"
#include "dataplane/base/types.h"

namespace isthmus {

class OpeningMemory {
 public:
  // A client, by the hash of its address, was answered. Whether control wants to hear of it.
  [[nodiscard]] bool answered(ServiceId service, std::uint32_t client, Seconds now) noexcept {
    Cell& cell = cell_of(service);
    const std::uint64_t word = std::uint64_t{now.value()} << 32 | client;
    if (cell.answered.load(std::memory_order_relaxed) != word) {  // the line is every worker's
      cell.answered.store(word, std::memory_order_relaxed);
    }
    return now.value() < cell.told_until.load(std::memory_order_relaxed);
  }
  // A client's connection failed. Whether the last one that was answered a short time ago is another client.
  [[nodiscard]] bool failed(ServiceId service, std::uint32_t client, Seconds now) noexcept {
    Cell& cell = cell_of(service);
    cell.told_until.store(now.value() + kOpeningSpan.value(), std::memory_order_relaxed);
    const std::uint64_t word = cell.answered.load(std::memory_order_relaxed);
    const auto at = static_cast<std::uint32_t>(word >> 32);
    return word != 0 && static_cast<std::uint32_t>(word) != client && now.value() - at < kOpeningSpan.value();
  }

 private:
  static constexpr std::size_t kCells = 1024;
  struct Cell {
    std::atomic<std::uint64_t> answered{0};  // when, in seconds, and whom
    std::atomic<std::uint32_t> told_until{0};
  };
  [[nodiscard]] Cell& cell_of(ServiceId service) noexcept { return cells_[service.value() % kCells]; }

  std::array<Cell, kCells> cells_;
};

}  // namespace isthmus
