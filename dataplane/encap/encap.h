// The encapsulations. A peer's outer header is prebuilt by the one it uses.
#pragma once

#include "dataplane/encap/vxlan.h"

namespace isthmus {

// All peers use VXLAN over IPv4. A second encapsulation would make this a variant, dispatched per peer in encap.h.
using Encapsulation = VxlanIpv4;

}  // namespace isthmus
