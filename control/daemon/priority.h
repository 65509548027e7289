// The priority of a gateway's threads. Thread: any; for the calling one and those that it starts from then on.
#pragma once

namespace isthmus {

// Above that of ordinary programs, in short turns: a gateway that waits behind busy pods looks silent to its peers, and
// its tables are late. What the process may not have, the log tells, and the ordinary stays.
void raise_priority();

}  // namespace isthmus
