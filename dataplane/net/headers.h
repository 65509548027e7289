// Protocol headers as on the wire. Multi-byte fields are network byte order by type and have alignment 1, so a header
// can overlay any address in a frame whose length was checked. RFC 791, 8200, 9293, 768, 9260, 792, 4443, 7348; IEEE
// 802.3.
#pragma once

#include <cstdint>
#include <cstring>

#include "dataplane/base/types.h"

namespace isthmus::net {

// A big-endian integer with alignment 1; converts from and to BigEndian.
template <typename Rep>
class Wire {
 public:
  Wire() noexcept = default;
  Wire(BigEndian<Rep> value) noexcept {  // NOLINT(google-explicit-constructor)
    const Rep wire = value.wire();
    std::memcpy(bytes_, &wire, sizeof wire);
  }
  operator BigEndian<Rep>() const noexcept {
    return BigEndian<Rep>::raw(wire());
  }  // NOLINT(google-explicit-constructor)
  [[nodiscard]] Rep host() const noexcept { return BigEndian<Rep>::raw(wire()).host(); }
  [[nodiscard]] Rep wire() const noexcept {
    Rep wire;
    std::memcpy(&wire, bytes_, sizeof wire);
    return wire;
  }

 private:
  std::uint8_t bytes_[sizeof(Rep)];
};
using Wire16 = Wire<std::uint16_t>;
using Wire32 = Wire<std::uint32_t>;

struct Ethernet {
  std::uint8_t destination[6];
  std::uint8_t source[6];
  Wire16 type;
};
static_assert(sizeof(Ethernet) == 14);

struct Ipv4 {
  std::uint8_t version_ihl;
  std::uint8_t tos;
  Wire16 total_length;
  Wire16 id;
  Wire16 fragment;  // flags and offset
  std::uint8_t ttl;
  std::uint8_t protocol;
  Wire16 checksum;
  Wire32 source;
  Wire32 destination;

  static constexpr std::uint16_t kDontFragment = 0x4000;
  static constexpr std::uint16_t kMoreFragments = 0x2000;
  static constexpr std::uint16_t kFragmentOffset = 0x1fff;  // in units of eight bytes
  static constexpr std::uint16_t kMoreFragmentsAndOffset = kMoreFragments | kFragmentOffset;
  [[nodiscard]] unsigned header_bytes() const noexcept { return (version_ihl & 0x0fu) * 4u; }
};
static_assert(sizeof(Ipv4) == 20);

struct Ipv6 {
  Wire32 version_class_flow;
  Wire16 payload_length;
  std::uint8_t next_header;
  std::uint8_t hop_limit;
  std::uint8_t source[16];
  std::uint8_t destination[16];
};
static_assert(sizeof(Ipv6) == 40);

// The fragment header of IPv6, RFC 8200 section 4.5.
struct Ipv6Fragment {
  std::uint8_t next_header;
  std::uint8_t reserved;
  Wire16 fragment;  // offset in bytes, whose last three bits are zero, and flags in their place
  Wire32 id;

  static constexpr std::uint16_t kMoreFragments = 0x0001;
  static constexpr std::uint16_t kOffset = 0xfff8;
};
static_assert(sizeof(Ipv6Fragment) == 8);

struct Tcp {
  Wire16 source;
  Wire16 destination;
  Wire32 sequence;
  Wire32 acknowledgement;
  std::uint8_t offset;
  std::uint8_t flags;
  Wire16 window;
  Wire16 checksum;
  Wire16 urgent;

  static constexpr std::uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kAck = 0x10;
};
static_assert(sizeof(Tcp) == 20);

struct Udp {
  Wire16 source;
  Wire16 destination;
  Wire16 length;
  Wire16 checksum;
};
static_assert(sizeof(Udp) == 8);

struct Sctp {
  Wire16 source;
  Wire16 destination;
  Wire32 verification_tag;
  Wire32 checksum;
};
static_assert(sizeof(Sctp) == 12);

// The first eight bytes of ICMP and ICMPv6 messages; `id` and `sequence` are valid for echo messages only.
struct Icmp {
  std::uint8_t type;
  std::uint8_t code;
  Wire16 checksum;
  Wire16 id;
  Wire16 sequence;
};
static_assert(sizeof(Icmp) == 8);

namespace icmp4 {
inline constexpr std::uint8_t kEchoReply = 0, kUnreachable = 3, kEchoRequest = 8, kTimeExceeded = 11, kParameter = 12;
inline constexpr std::uint8_t kCodeHost = 1, kCodePort = 3, kCodeFragmentationNeeded = 4;
}  // namespace icmp4
namespace icmp6 {
inline constexpr std::uint8_t kUnreachable = 1, kPacketTooBig = 2, kTimeExceeded = 3, kParameter = 4;
inline constexpr std::uint8_t kEchoRequest = 128, kEchoReply = 129;
inline constexpr std::uint8_t kCodeAddress = 3, kCodePort = 4;
}  // namespace icmp6

struct Vxlan {
  Wire32 flags;
  Wire32 vni;  // upper 24 bits

  static constexpr std::uint32_t kValidVni = 0x08000000;
};
static_assert(sizeof(Vxlan) == 8);

template <typename Header>
[[nodiscard]] inline Header* at(std::uint8_t* bytes) noexcept {
  return reinterpret_cast<Header*>(bytes);
}
template <typename Header>
[[nodiscard]] inline const Header* at(const std::uint8_t* bytes) noexcept {
  return reinterpret_cast<const Header*>(bytes);
}

}  // namespace isthmus::net
