// Encapsulation of packets that the gateway itself originates.
#include "dataplane/path/encap.h"

#include "dataplane/path/output.h"

namespace isthmus {

std::optional<DropReason> push_tunnel(PathContext& context, Frame& frame, std::uint8_t* ip, std::uint32_t ip_bytes,
                                      Family family, PeerId peer, Vni vni, std::uint16_t entropy) noexcept {
  const DeviceId underlay = context.shared.options.underlay_device;
  if (ip_bytes + Encapsulation::kOverhead > context.shared.adjacencies.mtu(underlay).value()) {
    return DropReason::kOversize;
  }
  const auto drop = encapsulation::push(context, frame, ip, ip_bytes, {peer, vni, entropy, family});
  context.counters.encapsulated.add(drop ? 0 : 1);
  return drop;
}

}  // namespace isthmus
