// The way out, shared by the stages and by packets of our own making (ICMP errors, probes).
#pragma once

#include "dataplane/path/context.h"
#include "dataplane/path/packet.h"

namespace isthmus {

// Puts a finished frame (Ethernet addresses still open) on its way: to the device's batch, or to wait for the next
// hop's MAC. Takes the frame in every case; what cannot leave is counted and freed.
void send_frame(PathContext& context, const Frame& frame, AdjacencyId adjacency) noexcept;

// Puts the outer header for `peer` in front of the IP packet at `ip` inside `frame` and moves the frame's start.
// Returns why not: no room in front, or longer than the underlay's MTU.
[[nodiscard]] std::optional<DropReason> push_tunnel(PathContext& context, Frame& frame, std::uint8_t* ip,
                                                    std::uint32_t ip_bytes, Family family, PeerId peer, Vni vni,
                                                    std::uint16_t entropy) noexcept;

// Once per round: sends what has got its MAC address, gives up what waited for a second.
void retry_waiting(PathContext& context) noexcept;

// Answers a packet that cannot go on with an ICMP error to its source, out of the side it came from (RFC 1812 section
// 4.3, RFC 4443): rate-limited, never about an ICMP error. The packet itself stays as it is.
enum class IcmpError : std::uint8_t { kPortUnreachable, kTooBig };
void send_icmp_error(PathContext& context, const Packet& packet, IcmpError what, Bytes mtu = Bytes{0}) noexcept;

// Probes inside the tunnel. A request is answered at once, an answer goes to control; both consume the packet.
void handle_probe(PathContext& context, Packet& packet) noexcept;
void send_probe(PathContext& context, PeerId peer, std::uint32_t sequence) noexcept;

}  // namespace isthmus
