// send: applies the decision, from rewrite to the device's transmit batch, one packet at a time so that its headers and
// its block are loaded once. Packets dropped by any stage are counted and freed here.
#include "dataplane/path/context.h"
#include "dataplane/path/encap.h"
#include "dataplane/path/forward.h"
#include "dataplane/path/path.h"
#include "dataplane/path/rewrite.h"
#include "dataplane/report/report.h"

namespace isthmus {

void send(PathContext& context, Burst& burst) noexcept {
  encapsulation::Tally tally;
  for (Packet& packet : burst) {
    if (packet.alive()) [[likely]] {
      const DirectionBlock& block = *packet.block;
      if (rewriting::rewrite(context, packet, block) && encapsulation::encapsulate(context, packet, block, tally) &&
          next_hop::forward(context, packet, block)) {
        continue;
      }
    }
    if (packet.verdict == Verdict::kDrop) {
      if (packet.reason == DropReason::kNoLiveBackend) {
        send_icmp_error(context.output, packet, IcmpError::kPortUnreachable);
      }
      context.counters.drop(packet.reason, packet.frame.length);
      report_dropped(context, burst, packet);
      context.pool.release(packet.frame.chunk);
    }
  }
  context.counters.encapsulated.add(tally.encapsulated);
  context.counters.fabric_bytes.add(tally.fabric_bytes);
  context.counters.local_bytes.add(tally.local_bytes);
}

}  // namespace isthmus
