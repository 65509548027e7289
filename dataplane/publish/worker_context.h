// State of one worker that its slow path, its reports and the packets it originates use. The worker sets `snapshot`,
// `now`, `now_ns` and `arrived_on` before each burst, inside its read section. Thread: the owning worker.
#pragma once

#include <cstdint>

#include "dataplane/base/rate_limit.h"
#include "dataplane/net/address_hash.h"
#include "dataplane/packet/frame.h"
#include "dataplane/packet/packet.h"
#include "dataplane/publish/mailbox.h"
#include "dataplane/publish/shared_state.h"
#include "dataplane/stats/counters.h"
#include "dataplane/stats/flow_events.h"

namespace isthmus {

struct WorkerContext {
  static constexpr std::uint32_t kNextHopsPerSecond = 512, kNextHopsOfSourcePerSecond = 128;

  WorkerContext(SharedState& shared_state, WorkerId worker_id, FramePool& frame_pool, Mailbox& mail_box,
                FlowEventQueue& events) noexcept
      : shared(shared_state), worker(worker_id), pool(frame_pool), mailbox(mail_box), flow_events(events) {}
  WorkerContext(const WorkerContext&) = delete;
  WorkerContext& operator=(const WorkerContext&) = delete;

  SharedState& shared;
  WorkerId worker;
  FramePool& pool;
  Mailbox& mailbox;
  FlowEventQueue& flow_events;
  const Snapshot* snapshot = nullptr;
  DeviceId arrived_on;       // that of the burst in hand
  Seconds now;               // connection table's clock
  std::uint64_t now_ns = 0;  // monotonic
  WorkerCounters counters;
  SenderLimits next_hops{kNextHopsPerSecond};                    // that one sender has us make
  SenderLimits next_hops_of_source{kNextHopsOfSourcePerSecond};  // and one source, within that of its peer
  std::uint64_t drops_reported = 0;  // bitmap by index in the burst: its drop has been reported already
};

// Who is to be charged for what a packet makes us do: its peer, or the source of one from the local side.
[[nodiscard]] inline std::uint64_t charged_to(const Packet& packet) noexcept {
  return packet.origin.side() == Side::kFabric ? packet.origin.peer().value()
                                               : address_hash(packet.key.realm, packet.key.source());
}

// The next hop of an address that is on-link, made if need be. kNoAdjacency: the table is full, or the sender has had
// too many made. `created`: it is new and has to be resolved.
[[nodiscard]] inline AdjacencyId on_link_next_hop(WorkerContext& context, DeviceId device, const IpAddress& address,
                                                  const Packet& for_packet, bool& created) noexcept {
  AdjacencyTable& table = context.shared.adjacencies;
  created = false;
  const AdjacencyId known = table.find(device, address);
  if (known != kNoAdjacency) {
    return known;
  }
  RateLimit& of_source = context.next_hops_of_source.of(address_hash(for_packet.key.realm, for_packet.key.source()));
  if (!of_source.allows(context.now_ns) || !context.next_hops.take(charged_to(for_packet), context.now_ns)) {
    return kNoAdjacency;
  }
  static_cast<void>(of_source.take(context.now_ns));
  return table.find_or_create(device, address, context.now, created);
}

}  // namespace isthmus
