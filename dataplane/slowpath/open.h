// open: new connections that get their decision from a pattern (patterns.h). Thread: the worker, inside its read
// section.
#pragma once

#include <optional>

#include "dataplane/packet/packet.h"
#include "dataplane/slowpath/commit.h"
#include "dataplane/slowpath/context.h"

namespace isthmus {

// Whether the packet may open a connection by a pattern, as far as it shows.
[[nodiscard]] inline bool is_plain_opening(const Packet& packet) noexcept {
  return packet.line == nullptr && !packet.unusual && !packet.icmp_error &&
         (packet.key.protocol == IpProtocol::kUdp || tcp_flag::is_opening(packet.tcp_flags));
}

// Opens the packet's connection. std::nullopt: there is no pattern; decide. Other results as those of commit().
// `generation` was loaded before. Leaves in context.patterned what learn_pattern() needs.
[[nodiscard]] std::optional<CommitResult> open_by_pattern(SlowContext& context, Packet& packet, const Hints& hints,
                                                          std::uint32_t generation, Hit& hit) noexcept;
// Keeps the pattern of context.decision, which has been committed, for the packet that open_by_pattern() was last
// called for.
void learn_pattern(SlowContext& context, const Packet& packet, const Hints& hints) noexcept;

}  // namespace isthmus
