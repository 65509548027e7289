// By which workers divide packets among themselves: a number that is the same for all packets of a connection, both
// ways as long as nothing translates it, whether they are in a tunnel or not. Of a tunnel packet, that of the packet
// inside.
#pragma once

#include <cstdint>
#include <optional>

#include "dataplane/api/encapsulation.h"

namespace isthmus {

class FlowNumbers {
 public:
  // Tunnel packets come to these ports. `secret`: so that nobody can aim at a worker.
  FlowNumbers(const TunnelEnds& tunnel, std::uint64_t secret) noexcept;

  // Of a frame of so many bytes; nothing: it is not IP, or is cut off. Fragments, and what has extension headers, go by
  // their addresses alone. Reads headers without checking them: what is wrong with a packet is found out elsewhere.
  [[nodiscard]] std::optional<std::uint32_t> of(const std::uint8_t* frame, std::uint32_t bytes) const noexcept;

 private:
  [[nodiscard]] bool is_tunnel(std::uint16_t port) const noexcept { return port == vxlan_ || port == geneve_; }
  [[nodiscard]] std::optional<std::uint32_t> of(const std::uint8_t* frame, std::uint32_t bytes,
                                                bool inner) const noexcept;
  [[nodiscard]] std::uint32_t number(std::uint64_t source, std::uint64_t destination,
                                     std::uint8_t protocol) const noexcept;

  std::uint64_t secret_;
  std::uint16_t vxlan_, geneve_;  // 0: none
};

}  // namespace isthmus
