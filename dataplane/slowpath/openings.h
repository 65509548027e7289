// openings: tells control how connections to the backends of watched services open (dataplane/api/openings.h). A
// connection is marked as it is inserted (ConnectionShared::kWatched), if its client is of our own cluster: another
// cluster could send from as many addresses as it likes. Who takes the mark away tells.
//
// Nothing is told of what a client's own packets end (its reset, its silence after an answer), of a failure during
// which the backend has answered anybody (OpeningMemory), of what we have dropped ourselves, and of what an earlier
// process has seen a part of. What a client can do alone all the same: send SYNs that the backend drops, because their
// checksum is wrong or its policy denies them, and so be told of as one client to which the backend is silent.
// Therefore control asks for several (control/health/outliers.h).
//
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
// A packet of it is dropped by us: what is not heard from now on is not the backend's silence.
void tell_nothing(const Hit& hit) noexcept;

}  // namespace isthmus
