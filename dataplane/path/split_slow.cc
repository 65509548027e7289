// Fragmentation of what is longer than the way out carries.
// - An IPv4 packet that its sender lets be fragmented (RFC 791 section 3.2). Each fragment is then a packet like any
//   other, with an outer header of its own.
// - Of an IPv6 packet that is no longer than every link must carry, the tunnel packet (RFC 2473 section 7.1): its
// sender
//   could not send a shorter one. The peer puts it together.
#include <algorithm>

#include "dataplane/path/forward.h"
#include "dataplane/report/report.h"

namespace isthmus {

struct TunnelCut {
  Family underlay;
  std::uint32_t header;  // bytes of the outer IP header, with that of the fragment
  std::uint32_t id;
};

namespace {

constexpr std::uint32_t kUnit = 8;  // bytes that the offset counts
constexpr std::uint16_t kMore = 0x2000, kOffset = 0x1fff;

// Options that every fragment has are copied, the others are in the first one only.
constexpr std::uint8_t kCopied = 0x80, kEndOfList = 0, kNothing = 1;

// Writes the header of a fragment but the first at `to`, from that of the first. Returns its length in bytes.
std::uint32_t write_later_header(const std::uint8_t* first, std::uint8_t* to) noexcept {
  const std::uint32_t header = net::at<net::Ipv4>(first)->header_bytes();
  std::memcpy(to, first, sizeof(net::Ipv4));
  std::uint32_t length = sizeof(net::Ipv4);
  for (std::uint32_t at = sizeof(net::Ipv4); at < header && first[at] != kEndOfList;) {
    const std::uint32_t bytes = first[at] == kNothing || at + 1 >= header ? 1 : first[at + 1];
    if (bytes == 0 || bytes > header - at) {
      break;
    }
    if ((first[at] & kCopied) != 0) {
      std::memcpy(to + length, first + at, bytes);
      length += bytes;
    }
    at += bytes;
  }
  while (length % 4 != 0) {
    to[length++] = kEndOfList;
  }
  to[0] = static_cast<std::uint8_t>(0x40 | length / 4);
  return length;
}

// `offset`: of the payload in the packet as it was sent, in bytes.
void finish_header(std::uint8_t* at, std::uint32_t bytes, std::uint32_t offset, bool more) noexcept {
  auto* ip = net::at<net::Ipv4>(at);
  ip->total_length = Be16::of(static_cast<std::uint16_t>(bytes));
  ip->fragment = Be16::of(static_cast<std::uint16_t>(offset / kUnit | (more ? kMore : 0)));
  ip->checksum = Be16{};
  ip->checksum = Be16::raw(net::checksum(at, ip->header_bytes()));
}

// Of an outer packet; the other fields are as in the whole one.
void finish_outer(std::uint8_t* at, const TunnelCut& cut, std::uint32_t bytes, std::uint32_t offset,
                  bool more) noexcept {
  if (cut.underlay == Family::kIpv4) {
    finish_header(at, bytes, offset, more);
    return;
  }
  auto* ip = net::at<net::Ipv6>(at);
  ip->payload_length = Be16::of(static_cast<std::uint16_t>(bytes - sizeof(net::Ipv6)));
  ip->next_header = static_cast<std::uint8_t>(IpProtocol::kIpv6Fragment);
  *net::at<net::Ipv6Fragment>(at + sizeof(net::Ipv6)) = {
      static_cast<std::uint8_t>(IpProtocol::kUdp), 0, Be16::of(static_cast<std::uint16_t>(offset | (more ? 1u : 0u))),
      Be32::of(cut.id)};
}

}  // namespace

bool Forwarder::forward_too_long(Packet& packet, const DirectionBlock& block) noexcept {
  if (packet.family == Family::kIpv4) {
    if ((net::at<net::Ipv4>(packet.ip)->fragment.host() & net::Ipv4::kDontFragment) == 0) {
      return forward_in_fragments(packet, block);
    }
  } else if (packet.ip_bytes <= kLeastIpv6Mtu && (block.flags & DirectionBlock::kTunnel) != 0) {
    return tunnel_in_fragments(packet, block);
  }
  drop_oversize(context_, packet, block.mtu);
  return false;
}

bool Forwarder::forward_in_fragments(Packet& packet, const DirectionBlock& block) noexcept {
  const std::uint32_t header = net::at<net::Ipv4>(packet.ip)->header_bytes();
  // Each piece but the first gets a chunk that is not long.
  const std::uint32_t longest = std::min(
      std::uint32_t{block.mtu}, context_.pool.max_short_frame() - static_cast<std::uint32_t>(sizeof(net::Ethernet)));
  const std::uint32_t room = longest > header ? (longest - header) / kUnit * kUnit : 0;
  const std::uint32_t payload = packet.ip_bytes - header;
  if (room == 0 || (payload - 1) / room > context_.pool.available()) {
    packet.drop(room == 0 ? DropReason::kOversize : DropReason::kTxFull);
    return false;
  }
  if (!rewrite(context_, packet, block)) {
    return false;
  }
  account_any(packet);
  const std::uint16_t field = net::at<net::Ipv4>(packet.ip)->fragment.host();
  const std::uint32_t start = (field & kOffset) * kUnit;
  const std::uint8_t* const rest = packet.ip + header;  // stays there until the batch is sent
  context_.counters.packets_fragmented.add();
  context_.counters.fragments_made.add();
  packet.ip_bytes = header + room;
  finish_header(packet.ip, packet.ip_bytes, start, true);
  if (!send_any(packet, block)) {
    return false;
  }
  for (std::uint32_t at = room; at < payload; at += room) {
    const std::uint32_t bytes = std::min(room, payload - at);
    const bool more = at + bytes < payload || (field & kMore) != 0;
    send_fragment(packet, block, rest + at, bytes, start + at, more);
  }
  return true;
}

// In a frame of its own, of which there are enough.
Packet Forwarder::begin_piece(const Packet& first, Frame& frame) noexcept {
  context_.counters.fragments_made.add();
  frame.chunk = context_.pool.allocate();
  frame.data = context_.pool.chunk_start(frame.chunk) + kFrameHeadroom;
  Packet piece = first;
  piece.frame = &frame;
  piece.ip = frame.data + sizeof(net::Ethernet);
  return piece;
}

void Forwarder::send_fragment(const Packet& first, const DirectionBlock& block, const std::uint8_t* data,
                              std::uint32_t bytes, std::uint32_t offset, bool more) noexcept {
  Frame frame;
  Packet piece = begin_piece(first, frame);
  const std::uint32_t header = write_later_header(first.ip, piece.ip);
  std::memcpy(piece.ip + header, data, bytes);
  piece.ip_bytes = header + bytes;
  finish_header(piece.ip, piece.ip_bytes, offset, more);
  if (!send_any(piece, block)) {
    frame.length = piece.ip_bytes + static_cast<std::uint32_t>(sizeof(net::Ethernet));
    drop_frame(context_, frame, piece.reason);
  }
}

bool Forwarder::tunnel_in_fragments(Packet& packet, const DirectionBlock& block) noexcept {
  const OuterHeader& header = peers_[block.encap_peer].header;
  const bool v4 = header.underlay == Family::kIpv4;
  const auto ip_header = static_cast<std::uint32_t>(v4 ? sizeof(net::Ipv4) : sizeof(net::Ipv6));
  constexpr auto kFragmentHeader = static_cast<std::uint32_t>(sizeof(net::Ipv6Fragment));
  TunnelCut cut{header.underlay, ip_header + (v4 ? 0 : kFragmentHeader), 0};
  const std::uint32_t overhead = header.overhead + option_bytes(packet, block, header);
  const std::uint32_t room = (block.mtu + overhead - cut.header) / kUnit * kUnit;
  const std::uint32_t payload = packet.ip_bytes + overhead - ip_header;
  if (header.size == 0 || (payload - 1) / room > context_.pool.available()) {
    packet.drop(header.size == 0 ? DropReason::kNoLiveGateway : DropReason::kTxFull);
    return false;
  }
  if (!rewrite(context_, packet, block)) {
    return false;
  }
  account_any(packet);
  cut.id = std::uint32_t{block.outer_port.host()} << 16 | ip_id_;
  push_header(header, packet, block, packet.family, ip_id_++);
  static_cast<void>(push_option(packet, block, header));
  context_.counters.tunnels_fragmented.add();
  context_.counters.fragments_made.add();
  ++tally_.encapsulated;
  tally_.fabric_bytes += packet.ip_bytes;
  packet.ip -= overhead;  // from here on it is the outer packet
  const std::uint8_t* const rest = packet.ip + ip_header;
  if (!v4) {
    std::uint8_t* const start = packet.ip - sizeof(net::Ethernet);
    std::memmove(start - kFragmentHeader, start, sizeof(net::Ethernet) + ip_header);
    packet.ip -= kFragmentHeader;
  }
  packet.ip_bytes = cut.header + room;
  finish_outer(packet.ip, cut, packet.ip_bytes, 0, true);
  if (!send(packet, block, sizeof(net::Ethernet))) {
    return false;
  }
  for (std::uint32_t at = room; at < payload; at += room) {
    const std::uint32_t bytes = std::min(room, payload - at);
    send_tunnel_fragment(packet, block, cut, rest + at, bytes, at, at + bytes < payload);
  }
  return true;
}

void Forwarder::send_tunnel_fragment(const Packet& first, const DirectionBlock& block, const TunnelCut& cut,
                                     const std::uint8_t* data, std::uint32_t bytes, std::uint32_t offset,
                                     bool more) noexcept {
  Frame frame;
  Packet piece = begin_piece(first, frame);
  constexpr std::size_t kEthernet = sizeof(net::Ethernet);
  std::memcpy(piece.ip - kEthernet, first.ip - kEthernet, kEthernet + cut.header);
  std::memcpy(piece.ip + cut.header, data, bytes);
  piece.ip_bytes = cut.header + bytes;
  finish_outer(piece.ip, cut, piece.ip_bytes, offset, more);
  if (!send(piece, block, kEthernet)) {
    frame.length = piece.ip_bytes + static_cast<std::uint32_t>(kEthernet);
    drop_frame(context_, frame, piece.reason);
  }
}

}  // namespace isthmus
