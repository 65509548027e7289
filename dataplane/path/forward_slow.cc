// The parts of forward that few packets need: drops, and packets that open or close connections.
#include "dataplane/originate/output.h"
#include "dataplane/path/forward.h"
#include "dataplane/report/report.h"

namespace isthmus {

void finish_drop(PathContext& context, const Burst& burst, Packet& packet) noexcept {
  if (packet.reason == DropReason::kNoLiveBackend) {
    send_icmp_error(context.output, packet, IcmpError::kPortUnreachable);
  }
  context.counters.drop(packet.reason, packet.frame.length);
  report_dropped(context, burst, packet);
  context.pool.release(packet.frame.chunk);
}

bool usable_for_special(PathContext& context, const Packet& packet) noexcept {
  // An ICMP error may come from a router or node on the path, so the slow path always checks it. A SYN may open a new
  // connection with the same key; the slow path checks that its backend still accepts new ones.
  if (packet.icmp_error || (packet.tcp_flags & (net::Tcp::kSyn | net::Tcp::kAck)) == net::Tcp::kSyn) {
    return false;
  }
  report_closing(context, packet);
  return true;
}

}  // namespace isthmus
