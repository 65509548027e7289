// Flow events of the path: the first packet of a direction, the packet that closes it, and every dropped packet. Other
// packets of established connections are not reported. Events beyond the worker's budget are only counted; see
// worker/flow_events.h. Thread: the worker.
#pragma once

#include "dataplane/fragments/kept_fragments.h"
#include "dataplane/packet/packet.h"
#include "dataplane/publish/worker_context.h"

namespace isthmus {

// What a decision tells about one packet, for its flow event. After retries, the last attempt counts.
struct FlowEventContext {
  bool first = false;  // the packet opened this direction of its connection
  bool reply = false;  // this is the reply direction
  FlowEvent::Tuple translated;
  Identity source_identity, destination_identity;
  ClusterId source_cluster, destination_cluster;
  PeerId out_peer;
  ServiceId service;
  PolicyVerdict egress, ingress;
};

[[nodiscard]] FlowEvent::Tuple tuple_of(const FlowKey& key) noexcept;
// The same with source and destination exchanged.
[[nodiscard]] FlowEvent::Tuple reverse_tuple_of(const FlowKey& key) noexcept;
// After a packet has been let pass: whether to report it, which takes from the budget for events. `first`: it opened
// its direction; `audited`: only audit mode lets it pass.
[[nodiscard]] bool wants_admitted_event(WorkerContext& context, const Packet& packet, bool first,
                                        bool audited) noexcept;
void put_admitted_event(WorkerContext& context, const Packet& packet, const FlowEventContext& event_context) noexcept;
// The same after a decision has dropped the packet; report_dropped() then reports no second event for it.
[[nodiscard]] bool wants_drop_event(WorkerContext& context, const Burst& burst, const Packet& packet) noexcept;
void put_drop_event(WorkerContext& context, const Packet& packet, const FlowEventContext& event_context) noexcept;
// In send(), for each dropped packet.
void report_dropped(WorkerContext& context, const Burst& burst, const Packet& packet) noexcept;
// Counts, reports and frees a complete frame that cannot be sent. Its Packet no longer exists, so the event is filled
// in from the frame itself.
void drop_frame(WorkerContext& context, const Frame& frame, DropReason reason) noexcept;
// Counts and reports what was kept of fragments; the place stays the caller's.
void drop_kept(WorkerContext& context, const KeptFragment& kept, DropReason reason) noexcept;
// For a packet with FIN or RST and a valid decision: reports it if it is the first FIN or RST of its direction.
void report_closing(WorkerContext& context, const Packet& packet) noexcept;

}  // namespace isthmus
