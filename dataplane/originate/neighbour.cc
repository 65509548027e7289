// Frames that wait for the MAC address of their next hop, and sending of frames that the gateway originates.
#include <algorithm>

#include "dataplane/originate/output.h"
#include "dataplane/report/report.h"

namespace isthmus {
namespace {

constexpr std::uint64_t kMaxWaitNs = 1'000'000'000;

}  // namespace

bool wait_for_mac(Output& output, const Frame& frame, AdjacencyId adjacency) noexcept {
  auto* const first = output.waiting.data();
  auto* const end = first + output.waiting_count;
  if (adjacency == kNoAdjacency ||
      std::any_of(first, end, [&](const WaitingFrame& w) { return w.adjacency == adjacency; })) {
    return false;
  }
  if (output.waiting_count == output.waiting.size()) {  // the oldest makes room, as it does in the table
    drop_frame(output.worker, first->frame, DropReason::kNeighbourUnresolved);
    std::copy(first + 1, end, first);
    --output.waiting_count;
  }
  output.worker.counters.neighbour_waits.add();
  const AdjacencyTable& table = output.worker.shared.adjacencies;
  output.waiting[output.waiting_count++] = {frame, adjacency, table.incarnation(adjacency), output.worker.now_ns};
  output.worker.mailbox.post(
      {WorkerEvent::Kind::kNeighbourRequest, table.device(adjacency), table.next_hop(adjacency), {}, 0});
  return true;
}

void send_frame(Output& output, const Frame& frame, AdjacencyId adjacency) noexcept {
  const bool resolved = output.worker.shared.adjacencies.write_addresses(adjacency, frame.data);
  if (resolved ? !append(output, frame, adjacency) : !wait_for_mac(output, frame, adjacency)) {
    drop_frame(output.worker, frame, resolved ? DropReason::kTxFull : DropReason::kNeighbourUnresolved);
  }
}

void retry_waiting(Output& output) noexcept {
  const AdjacencyTable& table = output.worker.shared.adjacencies;
  const unsigned count = output.waiting_count;
  output.waiting_count = 0;
  for (unsigned i = 0; i < count; ++i) {
    const WaitingFrame waiting = output.waiting[i];
    const bool freed = table.incarnation(waiting.adjacency) != waiting.incarnation;
    if (!freed && table.resolved(waiting.adjacency)) {
      send_frame(output, waiting.frame, waiting.adjacency);
    } else if (freed || output.worker.now_ns - waiting.since_ns > kMaxWaitNs) {
      drop_frame(output.worker, waiting.frame, DropReason::kNeighbourUnresolved);
    } else {
      output.waiting[output.waiting_count++] = waiting;
    }
  }
}

}  // namespace isthmus
