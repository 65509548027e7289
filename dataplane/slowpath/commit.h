// commit: carries a decision into the connection table. The only place of the slow path that inserts, replaces and
// removes, and that counts, once, after it has succeeded. Thread: the worker, inside its read section.
#pragma once

#include "dataplane/slowpath/context.h"

namespace isthmus {

enum class Committed : std::uint8_t {
  kDone,        // the packet has its decision
  kReplyTaken,  // another connection has the reply key: choose an alternative
  kAgain,       // `hit` has changed: another packet was first, or the connection is gone
  kRefused,     // for `reason`
};
struct CommitResult {
  Committed outcome = Committed::kDone;
  DropReason reason{};
};

// `hit`: the packet's connection, if it has one; a decision that opens a connection replaces it. The snapshot from
// which the decision was made must still be the published one.
[[nodiscard]] CommitResult commit(SlowContext& context, Packet& packet, Decision& decision, bool other_port,
                                  Hit& hit) noexcept;

}  // namespace isthmus
