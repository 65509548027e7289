// Quiescence: quiescent-state based reclamation (McKenney, "Is Parallel Programming Hard", section 9.5). Tells when
// memory that readers may refer to can be freed.
//
// Readers have fixed slots: worker w is slot w, control comes after the last worker. A reader is online while it may
// hold references to published data, and reports quiescent points, at which it holds none (a worker: once per round). A
// writer unlinks an object, takes a ticket with advance(), and frees the object once passed(ticket). An offline reader,
// such as a sleeping worker, counts as passed; it must hold no reference across offline().
// Threads: online, offline and quiescent by the slot's own thread; everything else any. Nothing blocks. Lifetime:
// created by the engine before its tables, outlives every table that retires through it.
#pragma once

#include <atomic>
#include <cassert>
#include <cstdint>
#include <memory>

namespace isthmus {

class Quiescence {
 public:
  explicit Quiescence(unsigned readers) : readers_(readers), slots_(std::make_unique<Slot[]>(readers)) {}
  Quiescence(const Quiescence&) = delete;
  Quiescence& operator=(const Quiescence&) = delete;

  [[nodiscard]] unsigned readers() const noexcept { return readers_; }

  // Begins a read section. Must not be inside one already.
  // Sequential consistency on the slot and on time_ guarantees that either the writer sees this reader, or this reader
  // sees the writer's unlink; therefore time_ is read again after the slot was set.
  void online(unsigned slot) noexcept {
    assert(slot < readers_ && !inside(slot));
    std::uint64_t now = time_.load(std::memory_order_seq_cst);
    for (;;) {
      slots_[slot].seen.store(now, std::memory_order_seq_cst);
      const std::uint64_t again = time_.load(std::memory_order_seq_cst);
      if (again == now) {
        return;
      }
      now = again;
    }
  }
  // Ends the read section: the reader holds no references.
  void offline(unsigned slot) noexcept {
    assert(inside(slot));
    slots_[slot].seen.store(kOffline, std::memory_order_release);
  }
  // Quiescent point: the reader holds no references now and continues. Costs a load of a shared line that rarely
  // changes, and a store to the reader's own line only when it did.
  void quiescent(unsigned slot) noexcept {
    assert(inside(slot));
    const std::uint64_t now = time_.load(std::memory_order_acquire);
    if (slots_[slot].seen.load(std::memory_order_relaxed) != now) {
      slots_[slot].seen.store(now, std::memory_order_release);
    }
  }
  // For assertions: is this reader in a read section?
  [[nodiscard]] bool inside(unsigned slot) const noexcept {
    return slots_[slot].seen.load(std::memory_order_relaxed) != kOffline;
  }

  // Call after unlinking: returns a ticket for everything unlinked before.
  [[nodiscard]] std::uint64_t advance() noexcept { return time_.fetch_add(1, std::memory_order_seq_cst) + 1; }
  // True once no reader can hold anything unlinked before `ticket` was taken. Costs one load per reader.
  [[nodiscard]] bool passed(std::uint64_t ticket) const noexcept {
    for (unsigned slot = 0; slot < readers_; ++slot) {
      const std::uint64_t seen = slots_[slot].seen.load(std::memory_order_seq_cst);
      if (seen != kOffline && seen < ticket) {
        return false;
      }
    }
    return true;
  }

 private:
  static constexpr std::uint64_t kOffline = 0;
  struct alignas(64) Slot {
    std::atomic<std::uint64_t> seen{kOffline};
  };
  unsigned readers_;
  std::unique_ptr<Slot[]> slots_;
  alignas(64) std::atomic<std::uint64_t> time_{1};
};

// A scoped read section, for readers that are otherwise offline (control, tests).
class ReadSection {
 public:
  ReadSection(Quiescence& quiescence, unsigned slot) noexcept : quiescence_(quiescence), slot_(slot) {
    quiescence_.online(slot_);
  }
  ~ReadSection() { quiescence_.offline(slot_); }
  ReadSection(const ReadSection&) = delete;
  ReadSection& operator=(const ReadSection&) = delete;

 private:
  Quiescence& quiescence_;
  unsigned slot_;
};

}  // namespace isthmus
