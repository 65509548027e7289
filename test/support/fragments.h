// IP fragments for tests: a packet split as a router or host splits it, and put together as a receiver does. Plain
// values. Independent of the code under test.
#pragma once

#include <cstdint>
#include <vector>

#include "test/support/packet.h"

namespace isthmus::test {

// Splits an IP packet without options or extension headers into fragments of at most `mtu` bytes. An IPv4 packet keeps
// its identification.
[[nodiscard]] std::vector<FrameBytes> split(const FrameBytes& ip, std::size_t mtu, std::uint32_t id = 0x1234);

// The part of an IP packet from byte `offset` behind its header, of `bytes` bytes.
[[nodiscard]] FrameBytes part_of(const FrameBytes& ip, std::size_t offset, std::size_t bytes, bool more,
                                 std::uint32_t id = 0x1234);

// An Ethernet frame around an IP packet.
[[nodiscard]] FrameBytes framed(const FrameBytes& ip);

// The IP packet in a frame: the inner one, if it is in a tunnel.
[[nodiscard]] FrameBytes inner_ip(const FrameBytes& frame);

// The whole of fragments in any order, dissected. `errors` also lists gaps, overlaps, and fragments that differ in
// addresses or identification.
[[nodiscard]] Dissected joined(std::vector<FrameBytes> fragments);

}  // namespace isthmus::test
