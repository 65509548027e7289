// Standing refusals: a refusal is a decision too, and while it stands a packet that is refused costs no more than one
// that is forwarded.
//
// Direct-mapped by the packet's keyed hash, hence bounded; a collision replaces the entry. An entry is for one flow,
// its origin and what decides on the packet besides: whether the flow has a connection, and which TCP flags it carries.
// It stands while the words it depends on do, but not for long: a few reasons (a connection removed, a service's
// backend withdrawn) have no word of their own. Holds what a flow event tells, so that every refused packet is reported
// like the first. Not for ICMP errors, which depend on who reports. Thread: its worker.
#pragma once

#include <cstdint>
#include <vector>

#include "dataplane/conntrack/connection.h"
#include "dataplane/conntrack/epoch_table.h"
#include "dataplane/packet/packet.h"
#include "dataplane/report/report.h"

namespace isthmus {

class Refusals {
 public:
  struct alignas(64) Entry {
    FlowKey key;
    Origin origin;
    Seconds made;
    std::uint32_t verified_at = 0;  // EpochTable::generation() when the words were last compared
    DropReason reason{};
    std::uint8_t kind = kNone;
    Dependencies depends;
    FlowEventContext event;
  };

  // The refusal that stands for this packet, or nullptr. `generation` was loaded before.
  [[nodiscard]] const Entry* find(const Packet& packet, const EpochTable& epochs, std::uint32_t generation,
                                  Seconds now) noexcept {
    const Set& set = set_of(packet.hash);
    for (unsigned way = 0; way < kWays; ++way) {
      if (set.tags[way] == tag_of(packet.hash)) {
        Entry& entry = entries_[set_number(packet.hash) * kWays + way];
        if (entry.kind == kind_of(packet) && entry.origin == packet.origin && entry.key == packet.key) {
          return stands(entry, epochs, generation, now) ? &entry : nullptr;
        }
      }
    }
    return nullptr;
  }
  void remember(const Packet& packet, DropReason reason, const Dependencies& depends, Seconds now,
                const FlowEventContext& event) noexcept {
    if (packet.icmp_error) {
      return;
    }
    Set& set = set_of(packet.hash);
    const std::uint8_t kind = kind_of(packet);
    unsigned way = 0;
    for (; way < kWays; ++way) {
      const Entry& entry = entries_[set_number(packet.hash) * kWays + way];
      if (entry.kind == kind && entry.origin == packet.origin && entry.key == packet.key) {
        break;  // the same, which stands no longer
      }
    }
    if (way == kWays) {
      way = set.next++ % kWays;
    }
    set.tags[way] = tag_of(packet.hash);
    entries_[set_number(packet.hash) * kWays + way] = {packet.key, packet.origin, now, 0, reason, kind, depends, event};
  }

 private:
  static constexpr std::size_t kSets = 1024, kWays = 4;
  static constexpr std::uint32_t kStandsSeconds = 1;
  static constexpr std::uint8_t kNone = 0, kUsed = 0x80, kConnected = 0x40;
  struct Set {
    std::uint32_t tags[kWays] = {};  // 0: free
    std::uint32_t next = 0;          // the way to replace
  };

  [[nodiscard]] static std::size_t set_number(std::uint64_t hash) noexcept { return hash % kSets; }
  [[nodiscard]] static std::uint32_t tag_of(std::uint64_t hash) noexcept {
    return static_cast<std::uint32_t>(hash >> 32) | 1;
  }
  [[nodiscard]] Set& set_of(std::uint64_t hash) noexcept { return sets_[set_number(hash)]; }
  // That of an ICMP error is never remembered.
  [[nodiscard]] static std::uint8_t kind_of(const Packet& packet) noexcept {
    constexpr std::uint8_t kFlags = tcp_flag::kFin | tcp_flag::kSyn | tcp_flag::kRst | tcp_flag::kAck;
    return packet.icmp_error ? kConnected
                             : static_cast<std::uint8_t>(kUsed | (packet.line != nullptr ? kConnected : 0) |
                                                         (packet.tcp_flags & kFlags));
  }
  [[nodiscard]] static bool stands(Entry& entry, const EpochTable& epochs, std::uint32_t generation,
                                   Seconds now) noexcept {
    if (now.value() - entry.made.value() > kStandsSeconds) {
      return false;
    }
    if (entry.verified_at != generation) {
      if (!epochs.is_current(entry.depends)) {
        return false;
      }
      entry.verified_at = generation;
    }
    return true;
  }

  std::vector<Set> sets_{kSets};
  std::vector<Entry> entries_{kSets * kWays};
};

}  // namespace isthmus
