// Frames for benchmarks: TCP over IPv4 with valid checksums, plain or in a VXLAN tunnel. A frame is a template plus a
// patch per connection.
//
// A driver that provides the packets of a million connections must not read a million prepared frames itself: a
// template is one or two cache lines, a patch six bytes, read sequentially. Payloads are zero. Pure functions.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "dataplane/api/types.h"

namespace isthmus::perf {

inline constexpr std::uint8_t kSyn = 0x02, kAck = 0x10;

// The fields that differ between packets of one template: low halves of the addresses and one L4 port, wire order.
struct PacketPatch {
  Be16 source, destination, port;
};

struct FrameShape {
  IpAddress source, destination;  // IPv4; the low halves are patched
  L4Port fixed_port;
  bool source_port_varies = true;  // the other port is fixed_port
  std::uint8_t tcp_flags = kAck;
  std::uint32_t ip_bytes = 46;  // of the inner packet; 46: the shortest Ethernet frame, 60 bytes without FCS
  bool tunnel = false;
  IpAddress tunnel_from, tunnel_to;
  std::uint32_t vni = 0;
};

class FrameTemplate {
 public:
  explicit FrameTemplate(const FrameShape& shape);

  [[nodiscard]] std::uint32_t length() const noexcept { return length_; }
  // The number of bytes that stamp() writes: the headers, rounded up to cache lines.
  [[nodiscard]] std::uint32_t header_bytes() const noexcept { return header_bytes_; }

  // Writes the headers; the payload is left unchanged.
  void stamp(const PacketPatch& patch, std::uint8_t* data) const noexcept {
    std::memcpy(data, header_.data(), 64);
    if (header_bytes_ > 64) {
      std::memcpy(data + 64, header_.data() + 64, 64);
    }
    const std::uint32_t addresses = std::uint32_t{patch.source.wire()} + patch.destination.wire();
    put(data + ip_ + kSourceLow, patch.source.wire());
    put(data + ip_ + kDestinationLow, patch.destination.wire());
    put(data + port_, patch.port.wire());
    put(data + ip_ + kIpChecksum, checksum(ip_sum_ + addresses));
    put(data + ip_ + kTcpChecksum, checksum(l4_sum_ + addresses + patch.port.wire()));
  }

 private:
  static constexpr std::size_t kIpChecksum = 10, kSourceLow = 14, kDestinationLow = 18, kTcpChecksum = 36;
  static void put(std::uint8_t* at, std::uint16_t wire) noexcept { std::memcpy(at, &wire, sizeof wire); }
  static std::uint16_t checksum(std::uint32_t sum) noexcept {
    sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~((sum & 0xffff) + (sum >> 16)));
  }

  alignas(64) std::array<std::uint8_t, 128> header_{};
  std::uint32_t length_ = 0, header_bytes_ = 64;
  std::size_t ip_ = 0, port_ = 0;          // offsets in the frame
  std::uint32_t ip_sum_ = 0, l4_sum_ = 0;  // without the patched fields
};

// Frame sizes of a case, named by the Ethernet frame length including FCS.
enum class FrameMix : std::uint8_t { k64, kImix, k1500 };
[[nodiscard]] const char* name_of(FrameMix mix);

// The templates of one shape: a single one, or the twelve packets of the simple IMIX (7 x 64, 4 x 576, 1 x 1500,
// interleaved).
[[nodiscard]] std::vector<FrameTemplate> templates_of(FrameShape shape, FrameMix mix);
// Mean length of the frames of a mix, bytes.
[[nodiscard]] double mean_length(const std::vector<FrameTemplate>& templates);

// What is wrong with an IPv4 TCP packet or its checksums; nullptr: nothing. For checking output.
[[nodiscard]] const char* packet_error(const std::uint8_t* ip, std::size_t bytes);

}  // namespace isthmus::perf
