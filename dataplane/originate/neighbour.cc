// Frames that wait for the MAC address of their next hop, and sending of frames that the gateway originates.
#include <algorithm>

#include "dataplane/originate/output.h"
#include "dataplane/report/report.h"

namespace isthmus {
namespace {

constexpr std::uint64_t kMaxWaitNs = 1'000'000'000;

// The oldest frame of the sender that has most, so that a scan displaces only its own. Senders share 64 numbers.
void drop_one_waiting(Output& output) noexcept {
  constexpr std::size_t kNumbers = 64;
  std::array<std::uint8_t, kNumbers> counts{};
  for (const WaitingFrame& frame : output.waiting) {
    ++counts[frame.sender % kNumbers];
  }
  const std::size_t most = static_cast<std::size_t>(std::max_element(counts.begin(), counts.end()) - counts.begin());
  WaitingFrame* const chosen = std::find_if(output.waiting.begin(), output.waiting.end(),
                                            [&](const WaitingFrame& w) { return w.sender % kNumbers == most; });
  drop_frame(output.worker, chosen->frame, DropReason::kNeighbourUnresolved);
  std::copy(chosen + 1, output.waiting.end(), chosen);
  --output.waiting_count;
}

}  // namespace

bool wait_for_mac(Output& output, const Frame& frame, AdjacencyId adjacency, std::uint64_t sender) noexcept {
  auto* const first = output.waiting.data();
  auto* const end = first + output.waiting_count;
  if (adjacency == kNoAdjacency ||
      std::any_of(first, end, [&](const WaitingFrame& w) { return w.adjacency == adjacency; })) {
    return false;
  }
  if (output.waiting_count == output.waiting.size()) {
    drop_one_waiting(output);
  }
  output.worker.counters.neighbour_waits.add();
  const AdjacencyTable& table = output.worker.shared.adjacencies;
  output.waiting[output.waiting_count++] = {frame, adjacency, table.incarnation(adjacency), output.worker.now_ns,
                                            sender};
  output.worker.mailbox.post(
      {WorkerEvent::Kind::kNeighbourRequest, table.device(adjacency), table.next_hop(adjacency), {}, 0});
  return true;
}

void send_frame(Output& output, const Frame& frame, AdjacencyId adjacency) noexcept {
  const bool resolved = output.worker.shared.adjacencies.write_addresses(adjacency, frame.data);
  if (resolved ? !append(output, frame, adjacency) : !wait_for_mac(output, frame, adjacency, kOurselves)) {
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
