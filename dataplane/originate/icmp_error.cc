// ICMP errors that the gateway originates: fragmentation needed, packet too big, port unreachable (no backend), and
// time exceeded.
#include <algorithm>

#include "dataplane/net/address_hash.h"
#include "dataplane/net/checksum.h"
#include "dataplane/net/headers.h"
#include "dataplane/originate/output.h"
#include "dataplane/packet/parse.h"
#include "dataplane/report/report.h"

namespace isthmus {
namespace {

constexpr std::uint32_t kQuoteIpv4 = 64;             // bytes of the original packet, as Cilium does
constexpr std::uint32_t kQuoteIpv6 = 1280 - 40 - 8;  // RFC 4443: up to the minimum MTU
constexpr std::uint8_t kInitialTtl = 64;

struct Message {
  std::uint8_t type, code;
  std::uint16_t mtu16 = 0;  // ICMPv4: the lower half of the second header word
  std::uint32_t mtu32 = 0;  // ICMPv6: the whole second header word
};

Message message_of(Family family, IcmpError what, Bytes mtu) noexcept {
  const bool v4 = family == Family::kIpv4;
  if (what == IcmpError::kTooBig) {
    return v4 ? Message{net::icmp4::kUnreachable, net::icmp4::kCodeFragmentationNeeded,
                        static_cast<std::uint16_t>(std::min<std::uint32_t>(mtu.value(), 0xffff))}
              : Message{net::icmp6::kPacketTooBig, 0, 0, mtu.value()};
  }
  if (what == IcmpError::kTimeExceeded) {
    return {v4 ? net::icmp4::kTimeExceeded : net::icmp6::kTimeExceeded, 0};
  }
  return v4 ? Message{net::icmp4::kUnreachable, net::icmp4::kCodePort}
            : Message{net::icmp6::kUnreachable, net::icmp6::kCodePort};
}

void write_icmp(std::uint8_t* at, const Message& message, const std::uint8_t* quote, std::uint32_t bytes) noexcept {
  auto* icmp = net::at<net::Icmp>(at);
  icmp->type = message.type;
  icmp->code = message.code;
  icmp->checksum = Be16{};
  const Be32 rest = Be32::of(message.mtu32 != 0 ? message.mtu32 : message.mtu16);
  std::memcpy(at + 4, &rest, 4);
  std::memcpy(at + sizeof(net::Icmp), quote, bytes);
}

// Writes the error packet at `ip`, from `source` to the packet's. Returns its length in bytes.
std::uint32_t write_error_ipv4(Output& output, const Packet& packet, const Message& message, const IpAddress& source,
                               std::uint8_t* ip) noexcept {
  const auto* original = net::at<net::Ipv4>(packet.ip);
  const std::uint32_t quote = std::min(packet.ip_bytes, kQuoteIpv4);
  const std::uint32_t total = sizeof(net::Ipv4) + sizeof(net::Icmp) + quote;
  *net::at<net::Ipv4>(ip) = net::Ipv4{};
  auto* header = net::at<net::Ipv4>(ip);
  header->version_ihl = 0x45;
  header->tos = original->tos;
  header->total_length = Be16::of(static_cast<std::uint16_t>(total));
  header->id = Be16::of(output.ip_id++);
  header->ttl = kInitialTtl;
  header->protocol = static_cast<std::uint8_t>(IpProtocol::kIcmp);
  header->source = source.as_ipv4();
  header->destination = original->source;
  header->checksum = Be16::raw(net::checksum(ip, sizeof(net::Ipv4)));
  std::uint8_t* icmp = ip + sizeof(net::Ipv4);
  write_icmp(icmp, message, packet.ip, quote);
  net::at<net::Icmp>(icmp)->checksum = Be16::raw(net::checksum(icmp, sizeof(net::Icmp) + quote));
  return total;
}

// `most`: how long it may be.
std::uint32_t write_error_ipv6(const Packet& packet, const Message& message, const IpAddress& source,
                               std::uint32_t most, std::uint8_t* ip) noexcept {
  constexpr std::uint32_t kHeaders = sizeof(net::Ipv6) + sizeof(net::Icmp);
  const auto* original = net::at<net::Ipv6>(packet.ip);
  const std::uint32_t quote = std::min({packet.ip_bytes, kQuoteIpv6, most - std::min(most, kHeaders)});
  const std::uint32_t payload = sizeof(net::Icmp) + quote;
  auto* header = net::at<net::Ipv6>(ip);
  constexpr std::uint32_t kVersion6 = 0x60000000;
  header->version_class_flow = Be32::of(kVersion6);
  header->payload_length = Be16::of(static_cast<std::uint16_t>(payload));
  header->next_header = static_cast<std::uint8_t>(IpProtocol::kIcmpv6);
  header->hop_limit = kInitialTtl;
  std::memcpy(header->source, source.bytes().data(), 16);
  std::memcpy(header->destination, original->source, 16);
  std::uint8_t* icmp = ip + sizeof(net::Ipv6);
  write_icmp(icmp, message, packet.ip, quote);
  const std::uint64_t pseudo = net::pseudo_header_sum(
      IpAddress::ipv6(header->source), IpAddress::ipv6(header->destination), IpProtocol::kIcmpv6, payload);
  net::at<net::Icmp>(icmp)->checksum = Be16::raw(net::checksum(icmp, payload, pseudo));
  return sizeof(net::Ipv6) + payload;
}

// The gateway's own address as a host of its cluster: that of translation, or the tunnel's where the cluster's prefixes
// have it. Other clusters' gateways accept its errors from those prefixes alone, and count all else as a forged source.
std::optional<IpAddress> own_address(const WorkerContext& worker, Family family, bool outside) noexcept {
  const EngineOptions& options = worker.shared.options;
  const Snapshot& snapshot = *worker.snapshot;
  const auto published = [&](const IpAddress& address) {
    return snapshot.clusters->cluster_of(options.realm, snapshot.aliases.to_alias(address)) == options.cluster;
  };
  const auto& translation = family == Family::kIpv4 ? options.translation_ipv4 : options.translation_ipv6;
  if (translation && (!outside || published(*translation))) {
    return translation;
  }
  const IpAddress& tunnel = options.tunnel.address(family);
  const bool ours = !tunnel.is_unspecified() && tunnel.family() == family && published(tunnel);
  return ours ? std::optional(tunnel) : std::nullopt;
}

// Where the error comes from, in the form in which its receiver knows it. nullopt: there is nobody to send it.
std::optional<IpAddress> error_source(const Output& output, const Packet& packet, IcmpError what) noexcept {
  if (what != IcmpError::kTimeExceeded) {
    return destination_of(packet);
  }
  const bool outside = output.worker.snapshot->is_outside(packet.origin, output.worker.shared.options.cluster);
  const std::optional<IpAddress> own = own_address(output.worker, packet.family, outside);
  return own && outside ? output.worker.snapshot->aliases.to_alias(*own) : own;
}

// The longest packet that goes back where this one came from.
Bytes room_back(const Output& output, const Packet& packet) noexcept {
  const AdjacencyTable& adjacencies = output.worker.shared.adjacencies;
  const bool fabric = packet.origin.side() == Side::kFabric;
  return fabric ? Bytes{(*output.worker.snapshot->peers)[packet.origin.peer()].inner_mtu(
                      adjacencies.mtu(output.worker.shared.options.underlay_device))}
                : adjacencies.mtu(output.worker.arrived_on);
}

}  // namespace

bool within_limits(const Output& output, const Packet& packet, ErrorLimits& limits) noexcept {
  const std::uint64_t prefix = prefix_hash(packet.key.realm, packet.key.source());
  const std::uint64_t sender = packet.origin.side() == Side::kFabric ? packet.origin.peer().value() : prefix;
  return limits.take(sender, prefix, output.worker.now_ns);
}

std::optional<Frame> make_icmp_error(Output& output, const Packet& packet, IcmpError what, Bytes mtu,
                                     Bytes most) noexcept {
  // A sender that fragments learns the MTU of IPv6 from any fragment (RFC 4443); all else only the first one is told of
  // (RFC 1812 section 4.3.2.7).
  const bool of_later =
      packet.fragment == Fragment::kLater && (packet.family == Family::kIpv4 || what != IcmpError::kTooBig);
  if (packet.icmp_error || of_later) {
    return std::nullopt;
  }
  const std::optional<IpAddress> source = error_source(output, packet, what);
  if (!source || !within_limits(output, packet, output.icmp_limits[static_cast<std::size_t>(what)])) {
    return std::nullopt;
  }
  Frame frame;
  frame.chunk = output.worker.pool.allocate();
  if (frame.chunk == kNoChunk) {
    return std::nullopt;
  }
  frame.data = output.worker.pool.chunk_start(frame.chunk) + kFrameHeadroom;
  std::uint8_t* ip = frame.data + sizeof(net::Ethernet);
  const Message message = message_of(packet.family, what, mtu);
  const std::uint32_t bytes = packet.family == Family::kIpv4
                                  ? write_error_ipv4(output, packet, message, *source, ip)
                                  : write_error_ipv6(packet, message, *source, most.value(), ip);
  frame.length = static_cast<std::uint32_t>(sizeof(net::Ethernet)) + bytes;
  return frame;
}

void send_icmp_error(Output& output, const Packet& packet, IcmpError what, Bytes mtu) noexcept {
  const bool fabric = packet.origin.side() == Side::kFabric;
  const auto* arrived = net::at<net::Ethernet>(packet.ip - sizeof(net::Ethernet));  // of one from the local side
  if (!fabric && (arrived->source[0] & 1) != 0) {
    return;
  }
  std::optional<Frame> made = make_icmp_error(output, packet, what, mtu, room_back(output, packet));
  if (!made) {
    return;
  }
  Frame& frame = *made;
  if (fabric) {
    const Vni vni{identity::kRemoteNode.value()};
    std::uint8_t* ip = frame.data + sizeof(net::Ethernet);
    const std::uint32_t bytes = frame.length - static_cast<std::uint32_t>(sizeof(net::Ethernet));
    if (const auto reason = push_tunnel(output, frame, ip, bytes, packet.family, packet.origin.peer(), vni, 0)) {
      drop_frame(output.worker, frame, *reason);
      return;
    }
    send_frame(output, frame, (*output.worker.snapshot->peers)[packet.origin.peer()].adjacency);
  } else {
    auto* ethernet = net::at<net::Ethernet>(frame.data);
    std::memcpy(ethernet->destination, arrived->source, sizeof ethernet->destination);
    std::memcpy(ethernet->source, arrived->destination, sizeof ethernet->source);
    ethernet->type = arrived->type;
    if (!append(output, frame, output.worker.arrived_on)) {
      drop_frame(output.worker, frame, DropReason::kTxFull);
    }
  }
  output.worker.counters.icmp_sent.add();
}

}  // namespace isthmus
