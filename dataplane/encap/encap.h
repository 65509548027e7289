// Encapsulations: what is known of a kind stands in its one file in this folder; `Kinds` lists them.
//
// A peer's outer header is prebuilt by build() on the control thread and stored in its PeerRecord. push() copies it in
// front of the inner IP packet and patches what differs: lengths, identification, checksum, entropy, ECN, VNI, and the
// inner Ethernet type. parse() reads the header of a received packet. Headers without options are of one size and have
// their VNI at one place, so that push() and the common case of parse() are the same code for every kind.
//
// The outer UDP checksum is zero over IPv4, as Cilium has it, and computed over IPv6, where its receivers want it. TTL
// 64, DF by forbid_fragments(), source port (IPv6: flow label) from the flow's hash, ECN by RFC 6040. Hot path, pure.
#pragma once

#include <array>
#include <cstring>
#include <optional>
#include <tuple>

#include "dataplane/encap/geneve.h"
#include "dataplane/encap/inner_sum.h"
#include "dataplane/encap/native.h"
#include "dataplane/encap/tunnel_header.h"
#include "dataplane/encap/vxlan.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "dataplane/packet/outer_header.h"

namespace isthmus::encap {

// Every kind, in the order of EncapsulationKind.
using Kinds = std::tuple<Vxlan, Geneve, Native>;
static_assert(std::tuple_size_v<Kinds> == kEncapsulationKinds);

// Bytes of a complete outer header, by the family of the underlay.
inline constexpr std::uint32_t kBehindUdp = kTunnelHeaderBytes + sizeof(net::Ethernet);
inline constexpr std::uint32_t kIpv4Bytes = sizeof(net::Ethernet) + sizeof(net::Ipv4) + sizeof(net::Udp) + kBehindUdp;
inline constexpr std::uint32_t kIpv6Bytes = sizeof(net::Ethernet) + sizeof(net::Ipv6) + sizeof(net::Udp) + kBehindUdp;
static_assert(kIpv4Bytes == 64 && kIpv6Bytes == 84 && kIpv6Bytes <= OuterHeader::kCapacity);

// The outer header from `from` to the tunnel end `to`. Preconditions: both are of one family; not kNone, for which
// there is no header.
[[nodiscard]] OuterHeader build(EncapsulationKind kind, const IpAddress& from, const IpAddress& to,
                                L4Port port) noexcept;

// The underlay must not fragment packets with this header; over IPv6 it never does.
void forbid_fragments(OuterHeader& header) noexcept;

struct Patch {
  std::uint32_t vni_word = 0;  // as on the wire: the VNI in the upper three bytes
  std::uint32_t inner_ip_bytes = 0;
  Family family = Family::kIpv4;  // of the inner packet
  std::uint16_t id = 0;           // of the outer IPv4 header, as on the wire
  Be16 source_port;               // entropy
  std::uint8_t ecn = 0;
};

// The first three write a tunnel's header.size bytes that end at the inner IP header at `inner`, and need that
// headroom.
inline void push_ipv4(const OuterHeader& header, const Patch& patch, std::uint8_t* inner) noexcept {
  std::uint8_t* const at = inner - kIpv4Bytes;
  std::memcpy(at, header.bytes.data(), kIpv4Bytes);
  auto* ip = net::at<net::Ipv4>(at + sizeof(net::Ethernet));
  auto* udp = net::at<net::Udp>(at + sizeof(net::Ethernet) + sizeof(net::Ipv4));
  const auto total = static_cast<std::uint16_t>(patch.inner_ip_bytes + header.overhead);
  ip->total_length = Be16::of(total);
  ip->id = Be16::raw(patch.id);
  std::uint32_t sum = header.sum + Be16::of(total).wire() + patch.id;
  if (patch.ecn != 0) {
    ip->tos = patch.ecn;
    sum += Be16::of(patch.ecn).wire();
  }
  sum = (sum & 0xffff) + (sum >> 16);
  sum += sum >> 16;
  ip->checksum = Be16::raw(static_cast<std::uint16_t>(~sum));
  udp->source = patch.source_port;
  udp->length = Be16::of(static_cast<std::uint16_t>(total - sizeof(net::Ipv4)));
  std::memcpy(inner - kBehindUdp + 4, &patch.vni_word, sizeof patch.vni_word);
  if (patch.family != Family::kIpv4) {
    net::at<net::Ethernet>(inner - sizeof(net::Ethernet))->type =
        Be16::of(static_cast<std::uint16_t>(EtherType::kIpv6));
  }
}

inline void push_ipv6(const OuterHeader& header, const Patch& patch, std::uint8_t* inner) noexcept {
  std::uint8_t* const at = inner - kIpv6Bytes;
  std::memcpy(at, header.bytes.data(), kIpv6Bytes);
  auto* ip = net::at<net::Ipv6>(at + sizeof(net::Ethernet));
  auto* udp = net::at<net::Udp>(at + sizeof(net::Ethernet) + sizeof(net::Ipv6));
  const Be16 length = Be16::of(static_cast<std::uint16_t>(patch.inner_ip_bytes + header.overhead -
                                                          static_cast<std::uint32_t>(sizeof(net::Ipv6))));
  constexpr std::uint32_t kVersion6 = 0x60000000, kEcnShift = 20;
  ip->version_class_flow =
      Be32::of(kVersion6 | std::uint32_t{patch.ecn} << kEcnShift | std::uint32_t{patch.source_port.host()});
  ip->payload_length = length;
  udp->source = patch.source_port;
  udp->length = length;
  std::memcpy(inner - kBehindUdp + 4, &patch.vni_word, sizeof patch.vni_word);
  // The length is in the UDP header and in its pseudo-header.
  std::uint64_t sum = std::uint64_t{header.sum} + 2u * std::uint64_t{length.wire()} + patch.source_port.wire() +
                      patch.vni_word + inner_sum(inner, patch.inner_ip_bytes, patch.family);
  if (patch.family != Family::kIpv4) {
    constexpr auto kIpv6 = static_cast<std::uint16_t>(EtherType::kIpv6);
    constexpr auto kIpv4 = static_cast<std::uint16_t>(EtherType::kIpv4);
    net::at<net::Ethernet>(inner - sizeof(net::Ethernet))->type = Be16::of(kIpv6);
    sum += Be16::of(kIpv6).wire() + static_cast<std::uint16_t>(~Be16::of(kIpv4).wire());
  }
  const auto checksum = static_cast<std::uint16_t>(~net::fold(sum));
  udp->checksum = Be16::raw(checksum == 0 ? 0xffff : checksum);  // zero would mean none (RFC 8200 section 8.1)
}

inline void push(const OuterHeader& header, const Patch& patch, std::uint8_t* inner) noexcept {
  if (header.underlay == Family::kIpv4) [[likely]] {
    push_ipv4(header, patch, inner);
  } else {
    push_ipv6(header, patch, inner);
  }
}

// Behind push() with a header of Geneve: puts the DSR option for a service between tunnel header and inner packet.
// Returns its bytes, by which the headers in front of `inner` begin earlier. (encap.cc)
std::uint32_t add_dsr_option(const OuterHeader& header, std::uint8_t* inner, const IpAddress& service,
                             Be16 port) noexcept;

// Whether the UDP checksum of a tunnel packet over IPv6 is right, which protects the VNI. `outer` is its IP header,
// without extension headers; `end` is where its UDP datagram ends. Like push_ipv6(), takes the inner packet's own
// checksum for granted: its receiver checks that. A missing one is not right (RFC 8200 section 8.1).
[[nodiscard]] inline bool checksum_holds(const std::uint8_t* outer, const std::uint8_t* inner,
                                         std::uint32_t inner_bytes, Family family, const std::uint8_t* end) noexcept {
  const std::uint8_t* const udp = outer + sizeof(net::Ipv6);
  const auto bytes = static_cast<std::uint32_t>(end - udp);
  std::uint64_t sum = net::partial_sum(outer + offsetof(net::Ipv6, source), 2 * sizeof(net::Ipv6::source));
  sum += Be16::of(static_cast<std::uint16_t>(bytes)).wire();
  sum += Be16::of(static_cast<std::uint16_t>(IpProtocol::kUdp)).wire();
  const bool whole = inner + inner_bytes == end;
  sum = whole
            ? net::partial_sum(udp, static_cast<std::size_t>(inner - udp), sum) + inner_sum(inner, inner_bytes, family)
            : net::partial_sum(udp, bytes, sum);
  return net::at<net::Udp>(udp)->checksum.wire() != 0 && net::fold(sum) == 0xffff;
}

[[nodiscard]] inline std::uint8_t ecn_of(const std::uint8_t* ip, Family family) noexcept {
  return family == Family::kIpv4 ? static_cast<std::uint8_t>(ip[1] & 3) : static_cast<std::uint8_t>((ip[1] >> 4) & 3);
}

// A flow's outer UDP source port: 49152 to 65535 (RFC 7348 section 5).
[[nodiscard]] inline Be16 entropy_port(std::uint32_t hash) noexcept {
  return Be16::of(static_cast<std::uint16_t>(0xc000u | (hash & 0x3fffu)));
}
[[nodiscard]] inline std::uint32_t vni_word(Vni vni) noexcept { return Be32::of(vni.value() << 8).wire(); }

inline constexpr std::array kPlainHeaders =
    std::apply([](auto... kinds) { return std::array{decltype(kinds)::kPlain...}; }, Kinds{});

// A header that parse() does not take: options, or invalid.
[[nodiscard]] std::optional<DropReason> parse_other(EncapsulationKind kind, const std::uint8_t* at, std::uint32_t bytes,
                                                    Tunnelled& into) noexcept;

// Reads the tunnel header at `at`, directly behind the outer UDP header, of which `end - at` bytes are received. Sets
// `into`, or returns why the packet must be dropped. An Ethernet header is readable where `into.inner` points.
[[nodiscard]] inline std::optional<DropReason> parse(EncapsulationKind kind, const std::uint8_t* at,
                                                     const std::uint8_t* end, Tunnelled& into) noexcept {
  const auto bytes = end - at;
  if (bytes < static_cast<std::ptrdiff_t>(kBehindUdp)) [[unlikely]] {
    return DropReason::kMalformed;
  }
  std::uint64_t header = 0;
  std::memcpy(&header, at, sizeof header);
  into = {vni_of(header), kTunnelHeaderBytes};
  const PlainHeader& plain = kPlainHeaders[static_cast<std::size_t>(kind)];
  if ((header & plain.mask) == plain.value) [[likely]] {
    return std::nullopt;
  }
  return parse_other(kind, at, static_cast<std::uint32_t>(bytes), into);
}

}  // namespace isthmus::encap
