// Standing refusals: a refusal is a decision too, and while it stands a packet that is refused costs no more than one
// that is forwarded.
//
// Half a cache line each, in sets of two, as many as a worker's part of the connection table has places: hence bounded.
// An entry is for one flow, its origin and what decides on the packet besides: the flow's connection, if it has one,
// and which TCP flags it carries; it is known by a keyed hash of 64 bits of all of these, which nobody outside can
// compute. It stands while the words it depends on do, but a few seconds at most; where a reason has no word of its own
// (a connection removed, a backend withdrawn), for one. Where both entries of a set stand, most newcomers are not
// remembered, so that more flows than there are places do not displace each other all the time. Not for ICMP errors,
// which depend on who reports. Thread: its worker.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <optional>

#include "dataplane/base/huge_page_allocator.h"
#include "dataplane/base/prefetch.h"
#include "dataplane/conntrack/connection.h"
#include "dataplane/conntrack/epoch_table.h"
#include "dataplane/packet/packet.h"
#include "dataplane/stats/drop_reason.h"

namespace isthmus {

class Refusals {
 public:
  explicit Refusals(std::uint32_t places) : sets_(std::bit_ceil(std::max(places, kLeast)) / kWays) {}

  // `connection`, below: 0, or a number that no other connection has, and none before or after it.
  void prefetch(const Packet& packet) const noexcept { prefetch_line(&sets_[set_of(packet)]); }
  // The reason for which this packet is refused, if a refusal stands. `generation` was loaded before.
  [[nodiscard]] std::optional<DropReason> find(const Packet& packet, std::uint64_t connection, const EpochTable& epochs,
                                               std::uint32_t generation, Seconds now) noexcept {
    const std::uint64_t id = id_of(packet, connection);
    for (Entry& entry : sets_[set_of(packet)]) {
      if (entry.id == id) {
        return stands(entry, epochs, generation, now) ? std::optional(entry.reason) : std::nullopt;
      }
    }
    return std::nullopt;
  }
  void remember(const Packet& packet, std::uint64_t connection, DropReason reason, const Dependencies& depends,
                Seconds now) noexcept {
    if (packet.icmp_error) {
      return;
    }
    const std::uint64_t id = id_of(packet, connection);
    Set& set = sets_[set_of(packet)];
    Entry* place = nullptr;
    for (Entry& entry : set) {
      if (entry.id == id || (place == nullptr && age(entry, now) > kSeconds)) {
        place = &entry;
      }
      if (entry.id == id) {
        break;
      }
    }
    if (place == nullptr) {
      if (++turn_ % kTurns != 0) {
        return;
      }
      place = &set[turn_ / kTurns % kWays];
    }
    *place = {id, depends.sum, 0, depends.index, static_cast<std::uint16_t>(now.value()), reason, {}};
  }

 private:
  static constexpr std::size_t kWays = 2;
  static constexpr std::uint32_t kLeast = 4096, kTurns = 8;
  static constexpr std::uint16_t kSeconds = 8, kSecondsWithoutWord = 1;
  struct Entry {
    std::uint64_t id = 0;           // 0: free
    std::uint32_t sum = 0;          // of the words when the refusal was made
    std::uint32_t verified_at = 0;  // EpochTable::generation() when they were last compared
    std::array<EpochIndex, kEpochsPerBlock> index{};
    std::uint16_t made = 0;  // seconds, lower half
    DropReason reason{};
    std::uint8_t unused[1] = {};
  };
  static_assert(sizeof(Entry) == 32 && sizeof(DropReason) == 1);
  struct alignas(64) Set : std::array<Entry, kWays> {};

  [[nodiscard]] std::size_t set_of(const Packet& packet) const noexcept {
    return (packet.hash >> 20) & (sets_.size() - 1);
  }
  // Never 0.
  [[nodiscard]] static std::uint64_t id_of(const Packet& packet, std::uint64_t connection) noexcept {
    constexpr std::uint8_t kFlags = tcp_flag::kFin | tcp_flag::kSyn | tcp_flag::kRst | tcp_flag::kAck;
    constexpr std::uint64_t kIcmpError = 0x80, kDsr = 0x40;
    const std::uint64_t kind =
        (packet.tcp_flags & kFlags) | (packet.icmp_error ? kIcmpError : 0) | (packet.dsr_words != 0 ? kDsr : 0);
    const std::uint64_t of_flow =
        flow_hash::mix(packet.hash ^ kind << 56, packet.origin.word() ^ 0x9e3779b97f4a7c15ULL);
    return (connection == 0 ? of_flow : flow_hash::mix(of_flow, connection ^ 0xa0761d6478bd642fULL)) | 1;
  }
  [[nodiscard]] static std::uint16_t age(const Entry& entry, Seconds now) noexcept {
    return entry.id == 0 ? 0xffff : static_cast<std::uint16_t>(now.value() - entry.made);
  }
  // Nothing but what has words decides on these.
  [[nodiscard]] static bool has_words(DropReason reason) noexcept {
    return reason == DropReason::kPolicyDenied || reason == DropReason::kPolicyDeny ||
           reason == DropReason::kSourceOutsideCluster || reason == DropReason::kVniCluster ||
           reason == DropReason::kVniHost || reason == DropReason::kVniScoped || reason == DropReason::kNotLinked ||
           reason == DropReason::kForeignSource || reason == DropReason::kMartian;
  }
  [[nodiscard]] static bool stands(Entry& entry, const EpochTable& epochs, std::uint32_t generation,
                                   Seconds now) noexcept {
    if (age(entry, now) > kSecondsWithoutWord && (age(entry, now) > kSeconds || !has_words(entry.reason))) {
      return false;
    }
    if (entry.verified_at != generation) {
      if (!epochs.is_current(entry.index, entry.sum)) {
        return false;
      }
      entry.verified_at = generation;
    }
    return true;
  }

  HugePageVector<Set> sets_;
  std::uint32_t turn_ = 0;
};

}  // namespace isthmus
