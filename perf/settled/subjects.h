// What forwards settled flows, each in a stand of its own. Requests: kSettle, then turns on either course.
#pragma once

#include <memory>
#include <string>

#include "perf/io/stand.h"
#include "perf/settled/pressure.h"
#include "perf/settled/streams.h"

namespace isthmus::perf {

inline constexpr char kSettle = 's', kTurnToFabric = 'o', kTurnFromFabric = 'b';
// After kSettle, of a gateway that hands down: seconds that took, and CPU seconds of the thread that does it.
inline constexpr char kSettlingSeconds = 't', kHandDownSeconds = 'c';
// After kSettle, of a gateway under pressure; and the measures that came of it, the n-th by kFirstMeasure + n.
inline constexpr char kPress = 'p', kFirstMeasure = '0';

struct SettledRun {
  Work work = Work::kForward;
  std::uint32_t flows = 1024;  // a power of two
  unsigned inner_frame_bytes = 60;
  double seconds = 0.1;  // of a turn
  Pressure pressure = Pressure::kNone;
};

enum class Forwards : std::uint8_t {
  kBare,        // XDP programs that touch the same bytes: the reference
  kBareCalls,   // the same with further helper calls; to the fabric only
  kKernel,      // the kernel's VXLAN device, and nftables' translation with connection tracking
  kHandedDown,  // our gateway, all flows handed down
  kPrograms,    // its kernel programs alone, with maps that the benchmark fills
  kAfXdp,       // our gateway, none handed down
};
[[nodiscard]] std::unique_ptr<Stand> settled_stand(std::string name, Forwards what, const SettledRun& run);

}  // namespace isthmus::perf
