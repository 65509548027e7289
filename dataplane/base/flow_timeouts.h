// How long a connection without packets is kept, by its state; what the states are is in
// dataplane/conntrack/lifecycle.h. The defaults are Cilium's, and for half-open ones Linux's for UDP without a reply.
// Idle time is counted modulo 194 days, so none may be above 97 days. Plain values.
#pragma once

#include "dataplane/base/types.h"

namespace isthmus {

struct FlowTimeouts {
  Seconds tcp{8000};        // both directions were seen
  Seconds tcp_syn{60};      // only one was; after a RST from one end
  Seconds tcp_closing{10};  // both directions are closed
  Seconds other{60};        // any other protocol
  Seconds half_open{30};    // TCP: only SYNs were seen; other protocols: no reply
};

}  // namespace isthmus
