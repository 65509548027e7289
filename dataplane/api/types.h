// Value types for code outside the dataplane: control, config, perf and test include this header instead of those in
// dataplane/base and dataplane/net.
#pragma once

#include "dataplane/base/result.h"       // IWYU pragma: export
#include "dataplane/base/types.h"        // IWYU pragma: export
#include "dataplane/net/alias_prefix.h"  // IWYU pragma: export
#include "dataplane/net/ip_address.h"    // IWYU pragma: export
