// Connection lifetime: Cilium's timers and TCP state, without window or sequence tracking. The times below are the
// defaults of FlowTimeouts.
//
// Half-open is a connection until its initiator has acknowledged the reply, so that neither a flood of SYNs nor the
// answers to it make connections that last. TCP opens with a packet of the initiator, neither SYN nor RST, after the
// reply; where that is not seen here, with one of the server, neither SYN nor RST, which shows that it has got it.
// Other protocols open with the reply. A connection that was taken up by an answer stays half-open until a packet of
// its client is seen, whatever the server sends. A RST of either end closes a half-open connection.
//
// TCP: 30 s while only SYNs were seen; 8000 s from the first other packet on, once both directions were seen. A
// connection with only one direction (its replies take another gateway, or nobody answers) expires after 60 idle
// seconds and is picked up again by its next packet. Cilium keeps it 8000 s; here it would count against the half-open
// limit that long. A FIN or RST closes its direction. When both are closed, 10 s remain, and further packets do not
// extend them. A RST before both SYNs were seen closes both directions. A RST from one end of an established connection
// shortens its idle timeout to the SYN timeout (nobody answers a RST, so the other end would never close); traffic that
// continues, after a forged RST, keeps it alive. All other protocols: 30 s until the reply, then 60 s.
//
// Where replies go past us (direct return) and none is seen, the client's packets tell. TCP opens with the first of
// them that is no SYN and has 8000 s, and 60 s after the client's FIN or RST; other protocols have 60 s and stay
// half-open: nothing shows that anybody answers.
// Threads: any worker, inside a read section. Marks are set by compare-and-swap, so that no update is lost.
#pragma once

#include <array>
#include <cstdint>

#include "dataplane/base/flow_timeouts.h"
#include "dataplane/base/types.h"
#include "dataplane/conntrack/connection.h"

namespace isthmus::lifecycle {

// Seconds since the last packet, whose time is kept modulo 2^24 (194 days). The difference is signed, because the
// clocks of two workers differ slightly: a packet from "the future" is 0 seconds old.
[[nodiscard]] inline std::uint32_t idle_since(std::uint32_t seen, Seconds now) noexcept {
  const std::uint32_t age = (now.value() - (seen >> 8)) & 0xffffff;
  return age < 0x800000 ? age : 0;
}

// Indexed by the lowest three TCP flags: FIN, SYN, RST.
inline constexpr auto kMarksOfTcp = [] {
  std::array<std::uint8_t, 8> marks{};
  for (std::uint8_t flags = 0; flags < marks.size(); ++flags) {
    marks[flags] =
        static_cast<std::uint8_t>(mark::kSeen | ((flags & tcp_flag::kSyn) != 0 ? mark::kSyn : mark::kNonSyn) |
                                  ((flags & tcp_flag::kFin) != 0 ? mark::kFin : 0) |
                                  ((flags & tcp_flag::kRst) != 0 ? mark::kRst : 0) | (flags == 0 ? mark::kSettled : 0));
  }
  return marks;
}();

// The marks that a packet sets on its direction.
[[nodiscard]] constexpr std::uint8_t marks_of(IpProtocol protocol, std::uint8_t tcp_flags) noexcept {
  return protocol == IpProtocol::kTcp ? kMarksOfTcp[tcp_flags % kMarksOfTcp.size()]
                                      : static_cast<std::uint8_t>(mark::kSeen | mark::kSettled);
}

// Seconds since the last packet of either direction.
[[nodiscard]] std::uint32_t idle(const Connection& connection, Seconds now) noexcept;
// Remaining seconds; 0: expired.
[[nodiscard]] std::uint32_t expires_in(const Connection& connection, const FlowTimeouts& timeouts,
                                       Seconds now) noexcept;

// A TCP connection of which nothing but SYNs of its client has been seen. An answer that takes another way is shown by
// what the client sends next.
[[nodiscard]] bool is_unanswered(const Connection& connection) noexcept;
// Told by aging of watched connections that have expired so. They are in no index any more, and can still be read.
class UnansweredWatch {
 public:
  virtual void unanswered(const Connection& connection) noexcept = 0;

 protected:
  ~UnansweredWatch() = default;
};

// Records a packet's time and marks: the slow path of FlowTable::account_packet, for a new second or a new mark.
// Returns the marks that its direction had not seen before.
std::uint8_t record(Connection& connection, Direction direction, Seconds now, std::uint8_t marks) noexcept;

// Whether a packet of these marks, of which record() has returned `fresh`, opens a half-open connection.
[[nodiscard]] bool opens(const Connection& connection, Direction direction, std::uint8_t marks,
                         std::uint8_t fresh) noexcept;

}  // namespace isthmus::lifecycle
