// decide: lets the slow path decide for the packets that have no decision, then carries out what it has decided.
#include "dataplane/path/forward.h"
#include "dataplane/path/path.h"
#include "dataplane/slowpath/admit.h"

namespace isthmus {

void decide(PathContext& context, Burst& burst) noexcept {
  if (burst.undecided.count == 0) [[likely]] {
    return;
  }
  admit(context, burst);
  Forwarder forwarder(context);
  for (unsigned i = 0; i < burst.undecided.count; ++i) {
    Packet& packet = burst.packets[burst.undecided.index[i]];
    if (packet.verdict == Verdict::kEcho) {
      answer_echo(context.output, packet);
      if (packet.verdict == Verdict::kDrop) {
        finish_drop(context, burst, packet);
      }
      continue;
    }
    const bool plain = !packet.unusual && packet.line != nullptr &&
                       (!packet.alive() || (packet.block->flags & DirectionBlock::kDsrOption) == 0);
    if (packet.alive() && packet.stray) {
      prepare_stray_error(context, forwarder, packet);
    } else if (packet.alive() && plain && (packet.tcp_flags & net::Tcp::kSyn) != 0 &&
               packet.ip_bytes <= packet.block->mtu && net::at<net::Ipv4>(packet.ip)->ttl > 1) {
      clamp_segments(context, packet, *packet.block);  // an error about what cannot be sent quotes it as it came
    }
    if (!packet.alive() ||
        !(plain ? forwarder.forward_special(packet, *packet.block) : forwarder(packet, *packet.block))) {
      finish_drop(context, burst, packet);
    }
  }
}

}  // namespace isthmus
