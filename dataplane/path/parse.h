// Reading of headers, shared by parse (outer) and decap (inner). Every length is checked against the frame before a
// field is read. Pure functions of the packet.
#pragma once

#include <optional>

#include "dataplane/path/packet.h"

namespace isthmus {

// Reads the Ethernet and IP header at `ethernet` (inside packet.frame): sets ip, family and ip_bytes, and cuts what
// Ethernet padding follows. Returns why not, if not.
[[nodiscard]] std::optional<DropReason> parse_ethernet(Packet& packet, std::uint8_t* ethernet) noexcept;

// The same and parse_flow() at once for what nearly every packet is: IPv4 without options or fragments, TCP or UDP, all
// lengths in order. False: anything else, or any fault; the other two then tell.
[[nodiscard]] bool parse_plain_ipv4(Packet& packet, std::uint8_t* ethernet, Realm realm) noexcept;

// Reads the L4 header behind packet.ip: sets l4, tcp_flags, icmp_error and key.
[[nodiscard]] std::optional<DropReason> parse_flow(Packet& packet, Realm realm) noexcept;

}  // namespace isthmus
