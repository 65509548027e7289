// parse: determines the side a packet arrived on, and its flow. A UDP packet to our tunnel address and port that
// arrived on the underlay device is from the fabric side and is decapsulated; everything else is from the local side,
// and its only IP header counts as the inner one.
#include "dataplane/packet/parse.h"

#include "dataplane/base/prefetch.h"
#include "dataplane/path/context.h"
#include "dataplane/path/decap.h"
#include "dataplane/path/fragments.h"
#include "dataplane/path/host.h"
#include "dataplane/path/path.h"

namespace isthmus {
namespace {

// What the two fast parsers do not take. Returns the drop reason if it cannot be parsed.
std::optional<DropReason> parse_any(PathContext& context, Packet& packet, const TunnelMatch* tunnel) noexcept {
  packet.begin();
  packet.unusual = true;
  packet.origin = Origin::plain(tunnel != nullptr);
  if (const auto drop = parse_ethernet(packet, packet.frame->data)) {
    return drop;
  }
  if (tunnel != nullptr && tunnel->is_ours(packet) && is_hosts(context, packet)) {
    return std::nullopt;
  }
  if (tunnel != nullptr && is_tunnel_fragment(context, *tunnel, packet)) {
    if (const auto drop = assemble_tunnel(context, *tunnel, packet); drop || !packet.alive()) {
      return drop;
    }
  }
  if (tunnel != nullptr) {
    take_off_atomic_header(*tunnel, packet);
  }
  if (tunnel != nullptr && tunnel->is_tunnel(packet)) {
    return decapsulate(context, packet);
  }
  if (tunnel != nullptr && take_underlay_error(context, packet)) {
    return std::nullopt;
  }
  if (const auto drop = parse_flow(packet, context.shared.options.realm); drop || packet.fragment == Fragment::kNone) {
    return drop;
  }
  if (is_hosts(context, packet)) {
    return std::nullopt;
  }
  return follow_datagram(context, packet);
}

// A packet that is not alive keeps an old key, so that lookup need not ask whether it is.
void parse_slow(PathContext& context, Packet& packet, const TunnelMatch* tunnel, std::uint64_t& decapsulated) noexcept {
  if (const auto drop = parse_any(context, packet, tunnel)) {
    if (!is_hosts(context, packet)) {
      packet.drop(*drop);
    }
  } else {
    decapsulated += packet.origin.side() == Side::kFabric ? 1 : 0;
  }
  if (packet.alive()) {
    prefetch_connection(*context.shared.flows, packet);
  } else {
    packet.bucket = FlowTable::empty_bucket();
  }
}

// `kUnderlay`: the device's role. Elsewhere than on the underlay anybody could claim to be a peer.
template <bool kUnderlay>
void parse_from(PathContext& context, Burst& burst) noexcept {
  const EngineOptions& options = context.shared.options;
  const std::uint64_t space = FlowKey::ipv4_space(options.realm);
  const FlowTable& flows = *context.shared.flows;
  const TunnelMatch match(options.tunnel);
  LastPeer last;
  std::uint64_t decapsulated = 0;
  Packet* packet = burst.packets.data();
  Packet* const end = packet + burst.count;
  for (Frame* frame = burst.frames.data(); packet != end; ++packet, ++frame) {
    prefetch_line(frame[Burst::kAhead].data);
    if constexpr (!kUnderlay) {  // where the outer header will be
      constexpr std::uintptr_t kOuter = encap::kIpv4Bytes - sizeof(net::Ethernet);
      const auto data = reinterpret_cast<std::uintptr_t>(frame[Burst::kAhead].data);  // none, behind the last frame
      prefetch_line_for_write(reinterpret_cast<const void*>(data - kOuter));
    }
    if (kUnderlay && decapsulate_plain(context, *packet, *frame, match, last)) {
      ++decapsulated;
    } else if (parse_plain_ipv4(*packet, frame->data, frame->length) && !(kUnderlay && match.is_tunnel(*packet)))
        [[likely]] {
      packet->origin = Origin::plain(kUnderlay);
    } else {
      parse_slow(context, *packet, kUnderlay ? &match : nullptr, decapsulated);
      continue;
    }
    const FlowKey::Ipv4Words key = plain_key(*packet, space);
    packet->key.write_ipv4(key);
    packet->hash = flows.hasher().ipv4(key.head, key.rest);
    packet->bucket = flows.prefetch_bucket(packet->hash);
  }
  context.counters.decapsulated.add(decapsulated);
}

}  // namespace

void parse(PathContext& context, Burst& burst) noexcept {
  if (burst.device == context.shared.options.underlay_device) {
    parse_from<true>(context, burst);
  } else {
    parse_from<false>(context, burst);
  }
}

}  // namespace isthmus
