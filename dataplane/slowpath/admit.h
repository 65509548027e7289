// The slow path's entry: for packets without a valid decision, makes one and commits it, or drops the packet.
// Thread: the worker, inside its read section.
#pragma once

#include "dataplane/packet/packet.h"
#include "dataplane/report/report.h"
#include "dataplane/slowpath/context.h"

namespace isthmus {

// Afterwards each packet of burst.undecided is dropped, or has the decision that forward applies (Packet::block), and
// its connection's direction line (Packet::line; ICMP errors: nullptr).
void admit(SlowContext& context, Burst& burst) noexcept;

// For the first packet of the reply direction, which needs no decision of its own: reports it, and how its connection
// has opened. (events.cc)
void report_first_reply(SlowContext& context, const Packet& packet) noexcept;

// What the flow event tells of a decision. (events.cc)
[[nodiscard]] FlowEventContext event_of(const Decision& decision, bool first) noexcept;

// What a packet may do to a connection where it has a DSR option, or the connection has been opened by one.
enum class DsrClaim : std::uint8_t {
  kStands,      // belongs to it
  kBeginsAnew,  // another connection with the same key: for another service, or for none
  kIntrudes,    // the connection is not the sender's to use, nor to end
};
// (dsr.cc)
[[nodiscard]] DsrClaim dsr_claim(const SlowContext& context, const Packet& packet, const Hit& hit) noexcept;
// (events.cc)
[[nodiscard]] PacketFacts facts_of(const SlowContext& context, const Packet& packet, const Hit& hit) noexcept;

}  // namespace isthmus
