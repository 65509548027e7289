// Whose answers a connection through a VIP gets. Plain function. Thread: any, in a read section of the block.
#pragma once

#include "dataplane/conntrack/affinity_table.h"
#include "dataplane/conntrack/connection.h"
#include "dataplane/conntrack/direction_block.h"

namespace isthmus {

// Who sends the replies; or, where they do not come by us (ConnectionShared::direct_return), whom the forward
// direction's block names. `forward` is that block, or nullptr: then the address is unspecified.
[[nodiscard]] inline AffinityTable::Backend backend_of(const Connection& connection,
                                                       const DirectionBlock* forward) noexcept {
  const FlowKey& reply = connection.line(Direction::kReply).key;
  if (!connection.shared.direct_return) [[likely]] {
    return {reply.source(), L4Port{reply.source_port.host()}};
  }
  if (forward == nullptr) {
    return {};
  }
  return {forward->destination(reply.family), L4Port{forward->destination_port.host()}};
}

}  // namespace isthmus
