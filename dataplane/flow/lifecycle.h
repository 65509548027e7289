// How long a connection lives: Cilium's timers and TCP lifecycle, without window or sequence tracking.
//
// TCP: 60 s while only SYNs were seen, 8000 s from the first other packet, once both directions have shown one: a
// connection of which we see one direction only (its replies take another gateway, or nobody answers) ends after 60
// idle seconds and is adopted again by its next packet. Cilium keeps it 8000 s; here it would hold its unit of the
// quota of unreplied connections that long. FIN or RST closes its direction; both closed, 10 s remain and packets
// prolong them no more. RST before both SYNs were seen closes both directions. A RST from one end of an established
// connection shortens its idle time to the SYN timeout (nobody answers a RST, so the other end would never close):
// traffic that goes on, after a forged one, keeps it alive. Everything else: 60 s. Threads: any worker, inside a read
// section; marks are set by compare-and-swap, so no worker loses another's.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/base/types.h"
#include "dataplane/flow/connection.h"

namespace isthmus {

struct FlowTimeouts {
  Seconds tcp{8000};
  Seconds tcp_syn{60};
  Seconds tcp_closing{10};
  Seconds other{60};
};

namespace lifecycle {

// The last packet's second is kept modulo 2^24 (194 days); differences are signed, because workers' clocks differ by a
// moment: a packet from "the future" is 0 seconds old.
[[nodiscard]] inline std::uint32_t idle_since(std::uint32_t seen, Seconds now) noexcept {
  const std::uint32_t age = (now.value() - (seen >> 8)) & 0xffffff;
  return age < 0x800000 ? age : 0;
}

// By the lowest three TCP flags: FIN, SYN, RST.
inline constexpr auto kMarksOfTcp = [] {
  std::array<std::uint8_t, 8> marks{};
  for (std::uint8_t flags = 0; flags < marks.size(); ++flags) {
    marks[flags] = static_cast<std::uint8_t>(
        mark::kSeen | ((flags & tcp_flag::kSyn) != 0 ? mark::kSyn : mark::kNonSyn) |
        ((flags & tcp_flag::kFin) != 0 ? mark::kFin : 0) | ((flags & tcp_flag::kRst) != 0 ? mark::kRst : 0));
  }
  return marks;
}();

// The marks a packet leaves on its direction.
[[nodiscard]] constexpr std::uint8_t marks_of(IpProtocol protocol, std::uint8_t tcp_flags) noexcept {
  return protocol == IpProtocol::kTcp ? kMarksOfTcp[tcp_flags % kMarksOfTcp.size()] : mark::kSeen;
}

// Seconds since the last packet of either direction.
[[nodiscard]] std::uint32_t idle(const Connection& connection, Seconds now) noexcept;
// Seconds left; 0: expired.
[[nodiscard]] std::uint32_t expires_in(const Connection& connection, const FlowTimeouts& timeouts,
                                       Seconds now) noexcept;

// Records a packet's time and marks; the slow half of FlowTable::track, taken when the second or a mark is new.
// Returns true if this was the first packet of its direction.
bool note(Connection& connection, Direction direction, Seconds now, std::uint8_t marks) noexcept;

}  // namespace lifecycle
}  // namespace isthmus
