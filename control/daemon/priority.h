// The scheduling of a gateway's threads. Applies to the calling thread and to those it starts afterwards.
#pragma once

namespace isthmus {

// A higher priority and a short scheduling slice: a gateway that waits behind busy pods looks unreachable to its peers,
// and its tables are late. What the process is not permitted stays at the default, and is logged (debug).
void raise_priority();

}  // namespace isthmus
