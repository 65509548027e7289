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

  // The refusal that stands for this packet, or nullptr.
  [[nodiscard]] const Entry* find(const Packet& packet, const EpochTable& epochs, std::uint32_t generation,
                                  Seconds now) noexcept {
    Entry& entry = entries_[packet.hash % kEntries];
    if (entry.kind != kind_of(packet) || entry.origin != packet.origin || entry.key != packet.key ||
        now.value() - entry.made.value() > kStandsSeconds) {
      return nullptr;
    }
    if (entry.verified_at != generation) {
      if (!epochs.is_current(entry.depends)) {
        return nullptr;
      }
      entry.verified_at = generation;
    }
    return &entry;
  }
  // `generation` was loaded before the words in `depends` were sampled.
  void remember(const Packet& packet, DropReason reason, const Dependencies& depends, Seconds now,
                const FlowEventContext& event) noexcept {
    if (packet.icmp_error) {
      return;
    }
    Entry& entry = entries_[packet.hash % kEntries];
    entry.key = packet.key;
    entry.origin = packet.origin;
    entry.made = now;
    entry.verified_at = 0;
    entry.reason = reason;
    entry.kind = kind_of(packet);
    entry.depends = depends;
    entry.event = event;
  }

 private:
  static constexpr std::size_t kEntries = 2048;
  static constexpr std::uint32_t kStandsSeconds = 1;
  static constexpr std::uint8_t kNone = 0, kUsed = 0x80, kConnected = 0x40;

  [[nodiscard]] static std::uint8_t kind_of(const Packet& packet) noexcept {
    constexpr std::uint8_t kFlags = tcp_flag::kSyn | tcp_flag::kRst | tcp_flag::kAck;
    return packet.icmp_error ? kConnected
                             : static_cast<std::uint8_t>(kUsed | (packet.line != nullptr ? kConnected : 0) |
                                                         (packet.tcp_flags & kFlags));
  }

  std::vector<Entry> entries_{kEntries};
};

}  // namespace isthmus
