// Answers to pings of VIPs. A VIP is no host's address, so its client's own gateway answers as that host would: the
// request itself goes back as a reply, with its identifier, sequence number and data, and without its IP options. It is
// read no further than its ICMP header and its checksum changes by the difference, so that a fragmented request, whose
// checksum covers data that is not here, goes back fragment by fragment, and a damaged one as damaged.
#include <cstring>
#include <utility>

#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "dataplane/originate/output.h"
#include "dataplane/packet/header_chain.h"

namespace isthmus {
namespace {

constexpr std::uint8_t kHostTtl = 64, kDscpBits = 0xfc;

// What of the request stands in front of the ICMP message, or of the part of it that a fragment has.
struct EchoRequest {
  net::Ethernet ethernet;  // as it arrived, from the local side
  std::uint32_t message_bytes = 0;
  bool has_fragment_header = false;  // IPv6: which its reply has, too
};

// The reason for which the request has no answer.
std::optional<DropReason> read_echo_request(const Packet& packet, EchoRequest& request) noexcept {
  const auto headers = static_cast<std::uint32_t>(packet.l4 - packet.ip);
  request.message_bytes = packet.ip_bytes - headers;
  std::memcpy(&request.ethernet, packet.ip - sizeof(net::Ethernet), sizeof request.ethernet);
  const bool to_group = ((request.ethernet.source[0] | request.ethernet.destination[0]) & 1) != 0;
  if (packet.origin.side() == Side::kLocal && to_group) {  // RFC 1122 section 3.2.2.6
    return DropReason::kNoFrontend;
  }
  if (packet.family == Family::kIpv4 || headers == sizeof(net::Ipv6)) {
    return std::nullopt;
  }
  HeaderChain chain;
  if (const auto drop = read_chain(packet.ip, packet.ip_bytes, chain)) {
    return drop;
  }
  if (chain.authenticated) {
    return DropReason::kUntranslatable;
  }
  request.has_fragment_header = packet.fragment != Fragment::kNone;
  // Headers behind that of the fragment are a part of what is fragmented: without them, the others would not fit.
  const auto next = static_cast<IpProtocol>(packet.ip[chain.fragment_at]);
  const bool directly = chain.fragment_at + sizeof(net::Ipv6Fragment) == headers && next == IpProtocol::kIcmpv6;
  return request.has_fragment_header && !directly ? std::optional(DropReason::kExtensionHeaders) : std::nullopt;
}

// Each writes the reply's IP header in front of the message, over the request's, and returns where it begins.
std::uint8_t* write_reply_ipv4(const Packet& packet, const EchoRequest& request) noexcept {
  net::Ipv4 asked;
  std::memcpy(&asked, packet.ip, sizeof asked);
  net::Ipv4 header{};
  header.version_ihl = 0x45;
  header.tos = asked.tos & kDscpBits;
  header.total_length = Be16::of(static_cast<std::uint16_t>(sizeof header + request.message_bytes));
  header.id = asked.id;
  header.fragment = asked.fragment;
  header.ttl = kHostTtl;
  header.protocol = static_cast<std::uint8_t>(IpProtocol::kIcmp);
  header.source = asked.destination;
  header.destination = asked.source;
  std::uint8_t* const ip = packet.l4 - sizeof header;
  std::memcpy(ip, &header, sizeof header);
  net::at<net::Ipv4>(ip)->checksum = Be16::raw(net::checksum(ip, sizeof header));
  return ip;
}

std::uint8_t* write_reply_ipv6(const Packet& packet, const EchoRequest& request) noexcept {
  constexpr std::uint32_t kVersion6 = 0x60000000;
  constexpr unsigned kClassShift = 20;
  net::Ipv6 asked;
  std::memcpy(&asked, packet.ip, sizeof asked);
  const std::uint32_t fragment_bytes = request.has_fragment_header ? sizeof(net::Ipv6Fragment) : 0;
  net::Ipv6 header{};
  header.version_class_flow =
      Be32::of(kVersion6 | (asked.version_class_flow.host() & std::uint32_t{kDscpBits} << kClassShift));
  header.payload_length = Be16::of(static_cast<std::uint16_t>(fragment_bytes + request.message_bytes));
  header.next_header =
      static_cast<std::uint8_t>(request.has_fragment_header ? IpProtocol::kIpv6Fragment : IpProtocol::kIcmpv6);
  header.hop_limit = kHostTtl;
  std::memcpy(header.source, asked.destination, sizeof header.source);
  std::memcpy(header.destination, asked.source, sizeof header.destination);
  std::uint8_t* const ip = packet.l4 - fragment_bytes - sizeof header;
  std::memcpy(ip, &header, sizeof header);
  return ip;
}

// A checksum of 0 is written as 0xffff, which is the same but for a message of zeros, where only this one is right.
void make_reply(std::uint8_t* message, Family family) noexcept {
  auto* icmp = net::at<net::Icmp>(message);
  const std::uint8_t before[2] = {icmp->type, icmp->code};
  icmp->type = family == Family::kIpv4 ? net::icmp4::kEchoReply : net::icmp6::kEchoReply;
  const Be16 checksum = net::apply_difference(icmp->checksum, net::difference(before, message, sizeof before));
  icmp->checksum = checksum == Be16{} ? Be16::of(0xffff) : checksum;
}

// Sends the reply the way its request came: to the MAC address, or into the tunnel of our own cluster's node.
std::optional<DropReason> send_back(Output& output, const Packet& packet, const EchoRequest& request,
                                    std::uint8_t* ip) noexcept {
  const auto bytes = static_cast<std::uint32_t>(packet.l4 - ip) + request.message_bytes;
  Frame frame = *packet.frame;
  if (packet.origin.side() == Side::kFabric) {
    const PeerId node = packet.origin.peer();
    const Vni vni{identity::kRemoteNode.value()};
    if (const auto reason =
            push_tunnel(output, frame, ip, bytes, packet.family, node, vni, static_cast<std::uint16_t>(packet.hash))) {
      return reason;
    }
    send_frame(output, frame, (*output.worker.snapshot->peers)[node].adjacency);
    return std::nullopt;
  }
  if (bytes > output.worker.shared.adjacencies.mtu(output.worker.arrived_on).value()) {
    return DropReason::kOversize;
  }
  frame.data = ip - sizeof(net::Ethernet);
  frame.length = static_cast<std::uint32_t>(sizeof(net::Ethernet)) + bytes;
  net::Ethernet ethernet = request.ethernet;
  std::swap(ethernet.source, ethernet.destination);
  std::memcpy(frame.data, &ethernet, sizeof ethernet);
  return append(output, frame, output.worker.arrived_on) ? std::nullopt : std::optional(DropReason::kTxFull);
}

}  // namespace

void answer_echo(Output& output, Packet& packet) noexcept {
  EchoRequest request;
  if (const auto reason = read_echo_request(packet, request)) {
    return packet.drop(*reason);
  }
  if (!within_limits(output, packet, output.echo_limits)) {
    return packet.drop(DropReason::kEchoLimit);
  }
  std::uint8_t* const ip =
      packet.family == Family::kIpv4 ? write_reply_ipv4(packet, request) : write_reply_ipv6(packet, request);
  if (packet.fragment != Fragment::kLater) {
    make_reply(packet.l4, packet.family);
  }
  if (const auto reason = send_back(output, packet, request, ip)) {
    return packet.drop(*reason);
  }
  packet.verdict = Verdict::kConsumed;
  output.worker.counters.echo_answered.add();
}

}  // namespace isthmus
