// parse: determines the side a packet arrived on, and its flow. A UDP packet to our tunnel address and port that
// arrived on the underlay device is from the fabric side and is decapsulated; everything else is from the local side,
// and its only IP header counts as the inner one.
#include "dataplane/packet/parse.h"

#include "dataplane/path/context.h"
#include "dataplane/path/decap.h"
#include "dataplane/path/path.h"

namespace isthmus {
namespace {

// What the two fast parsers do not take. Returns the drop reason if it cannot be parsed.
std::optional<DropReason> parse_any(PathContext& context, Packet& packet, const TunnelMatch* tunnel) noexcept {
  packet.origin = Origin{};
  if (const auto drop = parse_ethernet(packet, packet.frame.data)) {
    return drop;
  }
  if (tunnel != nullptr && tunnel->is_tunnel(packet)) {
    return decapsulate(context, packet);
  }
  return parse_flow(packet, context.shared.options.realm);
}

}  // namespace

void parse(PathContext& context, Burst& burst) noexcept {
  const EngineOptions& options = context.shared.options;
  const FlowTable& flows = *context.shared.flows;
  const TunnelMatch match(options);
  // Elsewhere than on the underlay anybody could claim to be a peer. All packets of a burst are from one device.
  const TunnelMatch* const tunnel =
      burst.count != 0 && burst.packets[0].device == options.underlay_device ? &match : nullptr;
  LastPeer last;
  std::uint64_t decapsulated = 0;
  for (Packet& packet : burst) {
    if (tunnel != nullptr && decapsulate_plain(context, packet, match, last)) {
      ++decapsulated;
    } else if (parse_plain_ipv4(packet, packet.frame.data) && (tunnel == nullptr || !tunnel->is_tunnel(packet)))
        [[likely]] {
      packet.origin = Origin{};
    } else {
      if (const auto drop = parse_any(context, packet, tunnel)) [[unlikely]] {
        packet.drop(*drop);
      } else {
        decapsulated += packet.origin.side() == Side::kFabric ? 1 : 0;
      }
      if (packet.alive()) {
        prefetch_connection(flows, packet);
      }
      continue;
    }
    write_plain_key(packet, options.realm);
    prefetch_connection(flows, packet);
  }
  context.counters.decapsulated.add(decapsulated);
}

}  // namespace isthmus
