// Bursts against the rings of AF_XDP devices: frames that come faster than the whole path forwards them, in bursts of
// growing length with a pause after each; how many are lost. Each size of the rings has a stand of its own.
#pragma once

namespace isthmus::perf {

// Prints a line for each size of the rings and number of cores. False: a stand failed, and standard error tells why.
[[nodiscard]] bool measure_bursts();

}  // namespace isthmus::perf
