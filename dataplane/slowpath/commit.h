// commit: carries a decision into the connection table. The only place of the slow path that inserts, replaces and
// removes, and that counts, once, after it has succeeded. Thread: the worker, inside its read section.
#pragma once

#include <span>

#include "dataplane/slowpath/context.h"

namespace isthmus {

enum class Committed : std::uint8_t {
  kDone,        // the packet has its decision
  kReplyTaken,  // another connection has the reply key: choose an alternative
  kAgain,       // `hit` has changed: another packet was first, or the connection is gone
  kRefused,     // for `reason`
};
struct CommitResult {
  Committed outcome = Committed::kDone;
  DropReason reason{};
};

// Finds the next hop of a decision that leaves on-link: the destination itself. False: there is no room for it. `made`:
// a new one, which is given back if the decision is not committed after all.
[[nodiscard]] bool find_neighbour(SlowContext& context, const Packet& packet, DirectionBlock& block,
                                  AdjacencyId& made) noexcept;
// NewConnection::marks of a connection's first packet.
[[nodiscard]] constexpr std::uint8_t first_marks(IpProtocol protocol, std::uint8_t tcp_flags) noexcept {
  return protocol == IpProtocol::kTcp && !tcp_flag::is_opening(tcp_flags) ? std::uint8_t{0}
                                                                          : lifecycle::marks_of(protocol, tcp_flags);
}
// Inserts the connection of context.opening, whose packet is not an answer.
[[nodiscard]] CommitResult insert_opening(SlowContext& context, Packet& packet, std::span<const AdjacencyId> made,
                                          Hit& hit) noexcept;

// `hit`: the packet's connection, if it has one; a decision that opens a connection replaces it. The snapshot from
// which the decision was made must still be the published one.
[[nodiscard]] CommitResult commit(SlowContext& context, Packet& packet, Decision& decision, bool other_port,
                                  Hit& hit) noexcept;

}  // namespace isthmus
