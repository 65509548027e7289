// What becomes of errors about connections that we do not know (slowpath/stray_error.cc), beyond a packet's own way.
#include <cstring>

#include "dataplane/path/forward.h"
#include "dataplane/report/report.h"
#include "dataplane/slowpath/steps.h"

namespace isthmus {
namespace {

// Whether only the gateway that its receiver's packets come through can tell what the error is about: the sender of
// what it quotes may have called a backend by a VIP.
bool may_be_by_service(const PathContext& context, const Packet& packet) noexcept {
  const FlowKey& key = packet.key;
  return !context.snapshot->is_outside(packet.origin, context.shared.options.cluster) &&
         packet.block->encap_peer != kNoPeer &&
         context.snapshot->is_backend({key.realm, key.source(), key.protocol, L4Port{key.source_port.host()}}) &&
         !context.shared.flows->find(context.worker, key);
}

}  // namespace

void tell_other_gateways(PathContext& context, Forwarder& forwarder, const Packet& packet) noexcept {
  if (!may_be_by_service(context, packet)) {
    return;
  }
  const PeerTable& peers = *context.snapshot->peers;
  const DirectionBlock& block = *packet.block;
  for (const PeerId gateway : (*context.snapshot->clusters)[peers[block.encap_peer].cluster].gateways) {
    const std::uint32_t chunk = gateway == block.encap_peer ? kNoChunk : context.pool.allocate();
    if (chunk == kNoChunk) {
      continue;
    }
    context.counters.icmp_copied.add();
    Frame frame;
    frame.chunk = chunk;
    frame.data = context.pool.chunk_start(chunk) + kFrameHeadroom;
    frame.length = static_cast<std::uint32_t>(sizeof(net::Ethernet)) + packet.ip_bytes;
    Packet copy = packet;
    copy.frame = &frame;
    copy.ip = frame.data + sizeof(net::Ethernet);
    copy.l4 = copy.ip + (packet.l4 - packet.ip);
    std::memcpy(frame.data, packet.ip - sizeof(net::Ethernet), frame.length);
    DirectionBlock there = block;
    there.encap_peer = gateway;
    there.adjacency = peers[gateway].adjacency;
    there.mtu = mtu_behind(context.shared.adjacencies, block.device, peers[gateway]);
    if (!forwarder(copy, there)) {
      drop_frame(context, frame, copy.reason);
    }
  }
}

}  // namespace isthmus
