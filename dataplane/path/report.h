// Flow events of the path: the first packet of a direction, the one that closes it, and every packet that dies. Other
// packets of established connections pass by here without a look. Thread: the worker. Within the worker's budget; see
// worker/flow_events.h.
#pragma once

#include "dataplane/path/admission.h"
#include "dataplane/path/context.h"
#include "dataplane/path/packet.h"

namespace isthmus {

// What admission found out about one packet; the last of several tries counts.
struct AdmissionNote {
  bool first = false;  // it opened this direction of its connection
  bool reply = false;  // that is the reply direction
  FlowEvent::Tuple translated;
  Identity source_identity, destination_identity;
  ClusterId source_cluster, destination_cluster;
  PeerId out_peer;
  ServiceId service;
  PolicyVerdict egress, ingress;

  void take(const Admission& admission) noexcept;
};

// After admission has let the packet pass.
void report_admitted(PathContext& context, const Packet& packet, const AdmissionNote& note) noexcept;
// After admission has refused it; the exit of the path then says nothing more about it.
void report_refused(PathContext& context, const Burst& burst, const Packet& packet, const AdmissionNote& note) noexcept;
// At the exit of the path, for each packet that died.
void report_dropped(PathContext& context, const Burst& burst, const Packet& packet) noexcept;
// Counts, tells of and frees a finished frame that cannot leave; its packet is gone, so what is told is read from it.
void lose_frame(PathContext& context, const Frame& frame, DropReason reason) noexcept;
// A packet of a standing decision with FIN or RST: told if its direction has shown none yet.
void report_closing(PathContext& context, const Packet& packet) noexcept;

}  // namespace isthmus
