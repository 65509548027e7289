// The list of encapsulations. A peer's outer header is prebuilt by the one it speaks.
#pragma once

#include "dataplane/encap/vxlan.h"

namespace isthmus {

// Today every peer speaks this one; a second makes this a variant and encap.cc a dispatch per peer.
using Encapsulation = VxlanIpv4;

}  // namespace isthmus
