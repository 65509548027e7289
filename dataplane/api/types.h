// The vocabulary of values for those outside the dataplane: control, configuration, perf and tests include this
// instead of reaching into dataplane/base and dataplane/net.
#pragma once

#include "dataplane/base/result.h"     // IWYU pragma: export
#include "dataplane/base/types.h"      // IWYU pragma: export
#include "dataplane/net/ip_address.h"  // IWYU pragma: export
