// Memory that is free after the first compilation of the whole model goes back to the kernel: the allocator keeps it
// otherwise, between what stays. Owner: ActiveGateway. Thread: control.
#pragma once

#include <malloc.h>

namespace isthmus {

inline void give_back_free_memory() { ::malloc_trim(0); }

}  // namespace isthmus
