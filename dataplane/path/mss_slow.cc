// The maximum segment size that the ends of a TCP connection tell each other (RFC 9293 section 3.7.1): lowered to what
// the path through this gateway carries, so that full segments need no ICMP error to find their way.
#include <algorithm>

#include "dataplane/path/forward.h"
#include "dataplane/slowpath/steps.h"

namespace isthmus {
namespace {

constexpr std::uint8_t kEndOfOptions = 0, kNoOperation = 1, kMaximumSegment = 2, kMaximumSegmentBytes = 4;

// The longest IP packet that the other direction carries: replies leave where this packet came from.
std::uint32_t mtu_back(const PathContext& context, const Packet& packet) noexcept {
  const AdjacencyTable& adjacencies = context.shared.adjacencies;
  if (packet.origin.side() != Side::kFabric) {
    return mtu_of(adjacencies, context.arrived_on);
  }
  const PeerRecord& peer = (*context.snapshot->peers)[packet.origin.peer()];
  return mtu_behind(adjacencies, context.shared.options.underlay_device, peer);
}

// The value of the next such option from `at` on, or nullptr.
std::uint8_t* find_maximum_segment(std::uint8_t* at, const std::uint8_t* end) noexcept {
  while (at < end && *at != kEndOfOptions) {
    if (*at == kNoOperation) {
      ++at;
      continue;
    }
    if (end - at < 2 || at[1] < 2 || at[1] > end - at) {
      return nullptr;
    }
    if (at[0] == kMaximumSegment && at[1] == kMaximumSegmentBytes) {
      return at + 2;
    }
    at += at[1];
  }
  return nullptr;
}

void lower(net::Tcp& tcp, std::uint8_t* option, std::uint32_t most) noexcept {
  std::uint8_t before[2] = {option[0], option[1]};
  if (static_cast<std::uint32_t>(before[0] << 8 | before[1]) <= most) {
    return;
  }
  option[0] = static_cast<std::uint8_t>(most >> 8);
  option[1] = static_cast<std::uint8_t>(most);
  std::uint8_t after[2] = {option[0], option[1]};
  if (((option - reinterpret_cast<std::uint8_t*>(&tcp)) & 1) != 0) {  // halves of two words of the checksum
    std::swap(before[0], before[1]);
    std::swap(after[0], after[1]);
  }
  tcp.checksum = net::apply_difference(tcp.checksum, net::difference(before, after, sizeof after));
}

}  // namespace

// Of several, receivers take one or another. Without one, the default of the family holds, which every path carries.
void clamp_segments(const PathContext& context, Packet& packet, const DirectionBlock& block) noexcept {
  const std::uint32_t ip_header = packet.family == Family::kIpv4 ? sizeof(net::Ipv4) : sizeof(net::Ipv6);
  const std::uint32_t headers = ip_header + static_cast<std::uint32_t>(sizeof(net::Tcp));
  const std::uint32_t mtu = std::min<std::uint32_t>(block.mtu, mtu_back(context, packet));
  if (mtu <= headers) {
    return;
  }
  auto* const tcp = net::at<net::Tcp>(packet.l4);
  const std::uint8_t* const end =
      std::min<const std::uint8_t*>(packet.l4 + (tcp->offset >> 4) * 4, packet.ip + packet.ip_bytes);
  std::uint8_t* at = packet.l4 + sizeof(net::Tcp);
  while ((at = find_maximum_segment(at, end)) != nullptr) {
    lower(*tcp, at, mtu - headers);
    at += kMaximumSegmentBytes - 2;
  }
}

}  // namespace isthmus
