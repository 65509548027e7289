// Frames that wait for the MAC address of their next hop, and sending of frames that the gateway originates.
#include "dataplane/path/neighbour.h"

#include "dataplane/path/output.h"
#include "dataplane/path/report.h"

namespace isthmus {
namespace {

constexpr std::uint64_t kMaxWaitNs = 1'000'000'000;

}  // namespace

bool next_hop::wait_for_mac(PathContext& context, const Frame& frame, AdjacencyId adjacency) noexcept {
  const bool unavailable = adjacency == kNoAdjacency || context.waiting_count == context.waiting.size() ||
                           std::any_of(context.waiting.begin(), context.waiting.begin() + context.waiting_count,
                                       [&](const WaitingFrame& w) { return w.adjacency == adjacency; });
  if (unavailable) {
    return false;
  }
  context.counters.neighbour_waits.add();
  context.waiting[context.waiting_count++] = {frame, adjacency, context.now_ns};
  const AdjacencyTable& table = context.shared.adjacencies;
  context.mailbox.post(
      {WorkerEvent::Kind::kNeighbourRequest, table.device(adjacency), table.next_hop(adjacency), {}, 0});
  return true;
}

void send_frame(PathContext& context, const Frame& frame, AdjacencyId adjacency) noexcept {
  const auto type = static_cast<Be16>(net::at<net::Ethernet>(frame.data)->type);
  const bool resolved = context.shared.adjacencies.write_header(adjacency, type, frame.data);
  if (resolved ? !next_hop::append(context, frame, adjacency) : !next_hop::wait_for_mac(context, frame, adjacency)) {
    drop_frame(context, frame, resolved ? DropReason::kTxFull : DropReason::kNeighbourUnresolved);
  }
}

void retry_waiting(PathContext& context) noexcept {
  const unsigned count = context.waiting_count;
  context.waiting_count = 0;
  for (unsigned i = 0; i < count; ++i) {
    const WaitingFrame waiting = context.waiting[i];
    if (context.shared.adjacencies.resolved(waiting.adjacency)) {
      send_frame(context, waiting.frame, waiting.adjacency);
    } else if (context.now_ns - waiting.since_ns > kMaxWaitNs) {
      drop_frame(context, waiting.frame, DropReason::kNeighbourUnresolved);
    } else {
      context.waiting[context.waiting_count++] = waiting;
    }
  }
}

}  // namespace isthmus
