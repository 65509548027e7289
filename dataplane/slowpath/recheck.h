// recheck: whether a decision whose epoch words have moved still stands, from what those words stand for alone. A
// change moves the words of everything that leads through it, and most decisions come out of it as they were; deciding
// them again from the start costs several times as much.
//
// Rechecked are the two ends, the service and the peers; a moved policy, a moved next hop, and whatever does not look
// the same, is decided again. Thread: the worker, inside its read section.
#pragma once

#include "dataplane/slowpath/context.h"

namespace isthmus {

// Whether recheck() may be asked for a packet of this connection.
[[nodiscard]] inline bool is_by_parts(const Packet& packet, const Hit& hit) noexcept {
  return hit.block != nullptr && hit.block->by_parts && hit.block->origin == packet.origin && !packet.icmp_error &&
         !tcp_flag::is_opening(packet.tcp_flags);
}

enum class Parts : std::uint8_t {
  kPeers,  // only where nothing but peers has moved: needs no table that is likely to miss the caches
  kAll,
};
// True: the decision stands, and says so from now on. `hints` as for decide(), or nullptr.
[[nodiscard]] bool recheck(SlowContext& context, const Packet& packet, const Hit& hit, Parts parts,
                           const Hints* hints) noexcept;

}  // namespace isthmus
