#include "dataplane/path/path.h"

#include "dataplane/path/context.h"
#include "dataplane/path/report.h"

namespace isthmus {

void run_path(PathContext& context, Burst& burst) noexcept {
  parse(context, burst);
  decap(context, burst);
  track(context, burst);
  admit(context, burst);
  rewrite(context, burst);
  encapsulate(context, burst);
  forward(context, burst);
  for (const Packet& packet : burst) {
    if (packet.verdict == Verdict::kDrop) {
      context.counters.drop(packet.reason, packet.frame.length);
      report_dropped(context, burst, packet);
      context.pool.release(packet.frame.chunk);
    }
  }
}

}  // namespace isthmus
