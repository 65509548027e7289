// openings: tells control how connections to the backends of watched services open (dataplane/api/openings.h). A
// connection is marked as it is inserted (ConnectionShared::kWatched); who takes the mark away tells. What a client can
// do alone tells nothing: its reset, its silence after an answer, a repetition in quick succession.
// Callers: the first packet of a reply direction, commit, aging; never a settled packet. Thread: the worker, inside its
// read section. Failure: a full queue loses an outcome, and counts it.
#pragma once

#include "dataplane/slowpath/context.h"

namespace isthmus {

// The first packet of the reply direction, which is about to be sent.
void tell_first_reply(SlowContext& context, const Packet& packet) noexcept;
// The client asks again, by the SYN that it has sent before.
void tell_asked_again(SlowContext& context, const Hit& hit) noexcept;
// A valid ICMP error about the connection.
void tell_icmp_error(SlowContext& context, const Packet& packet, const Hit& hit) noexcept;
// It has expired, and FlowTable::age_connections() has found it unanswered.
void tell_unanswered(SlowContext& context, const Connection& connection) noexcept;

}  // namespace isthmus
