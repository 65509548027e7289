// Puts a peer's outer header in front of a packet. Hot path; pure but for the IP identification.
#pragma once

#include <optional>

#include "dataplane/encap/encap.h"
#include "dataplane/originate/output.h"

namespace isthmus {

struct Tunnel {
  PeerId peer;
  Vni vni;
  std::uint16_t entropy = 0;
  Family family = Family::kIpv4;
};

// Puts the outer header in front of the IP packet at `ip`. Precondition: the result fits the underlay's MTU. Returns a
// drop reason if there is no such peer or not enough headroom; the frame is then unchanged.
[[nodiscard]] inline std::optional<DropReason> push(Output& output, Frame& frame, std::uint8_t* ip,
                                                    std::uint32_t ip_bytes, const Tunnel& tunnel) noexcept {
  const PeerRecord& record = (*output.worker.snapshot->peers)[tunnel.peer];
  if (!record.known()) [[unlikely]] {
    return DropReason::kNoLiveGateway;
  }
  std::uint8_t* start = ip - record.header.size;
  if (start < output.worker.pool.chunk_start(frame.chunk)) [[unlikely]] {
    return DropReason::kHeadroom;
  }
  encap::Patch patch;
  patch.vni_word = encap::vni_word(tunnel.vni);
  patch.inner_ip_bytes = ip_bytes;
  patch.family = tunnel.family;
  patch.id = output.ip_id++;
  patch.source_port = encap::entropy_port(tunnel.entropy);
  patch.ecn = encap::ecn_of(ip, tunnel.family);
  encap::push(record.header, patch, ip);
  frame.data = start;
  frame.length = ip_bytes + record.header.size;
  return std::nullopt;
}

}  // namespace isthmus
