// Encapsulation of packets that the gateway itself originates.
#include "dataplane/originate/push.h"

namespace isthmus {

std::optional<DropReason> push_tunnel(Output& output, Frame& frame, std::uint8_t* ip, std::uint32_t ip_bytes,
                                      Family family, PeerId peer, Vni vni, std::uint16_t entropy) noexcept {
  const DeviceId underlay = output.worker.shared.options.underlay_device;
  if (ip_bytes + (*output.worker.snapshot->peers)[peer].header.overhead >
      output.worker.shared.adjacencies.mtu(underlay).value()) {
    return DropReason::kOversize;
  }
  const auto drop = push(output, frame, ip, ip_bytes, {peer, vni, entropy, family});
  output.worker.counters.encapsulated.add(drop ? 0 : 1);
  return drop;
}

}  // namespace isthmus
