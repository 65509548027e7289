// Fragments, as part of parse: those of the fleet's datagrams, which are forwarded as they are with the ports of their
// first one, and those of tunnel packets, which are put together (fragments/fragment_table.h). Thread: the worker.
// (fragments_slow.cc)
#pragma once

#include <optional>

#include "dataplane/path/context.h"
#include "dataplane/path/decap.h"

namespace isthmus {

// For a packet whose key parse_flow() has made, and that is a fragment: gives a later one the ports of its datagram.
// One that comes before its first is consumed; it goes on behind the first one's burst. Returns the drop reason on
// failure.
[[nodiscard]] std::optional<DropReason> follow_datagram(PathContext& context, Packet& packet) noexcept;

// For a packet whose Ethernet and IP headers have been parsed: whether it is a fragment that a peer sends to our tunnel
// address.
[[nodiscard]] bool is_tunnel_fragment(const PathContext& context, const TunnelMatch& match,
                                      const Packet& packet) noexcept;
// For such a packet: the last one of a tunnel packet becomes that packet, as if it had arrived whole; others are
// consumed. Returns the drop reason on failure.
[[nodiscard]] std::optional<DropReason> assemble_tunnel(PathContext& context, const TunnelMatch& match,
                                                        Packet& packet) noexcept;

// For a packet whose Ethernet and IP headers have been parsed: one to our tunnel address that is whole although it has
// a fragment header (RFC 6946) loses that header.
void take_off_atomic_header(const TunnelMatch& match, Packet& packet) noexcept;

// Fills the burst with fragments that have waited and whose first one has come, as parse leaves packets. False: there
// are none left.
[[nodiscard]] bool take_replayed(PathContext& context, Burst& burst) noexcept;

// Once in a while: drops what has waited too long.
void expire_fragments(PathContext& context) noexcept;

}  // namespace isthmus
