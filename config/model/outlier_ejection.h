// Outlier ejection: when a service's backend is left out of new connections because those before did not open, and for
// how long. Plain values, any thread.
#pragma once

namespace isthmus {

struct OutlierEjection {
  unsigned failures = 0;      // in a row; 0: backends are never left out
  unsigned seconds = 30;      // for so long at first
  unsigned max_percent = 50;  // of the backends of one cluster, that may be left out at a time
  friend bool operator==(const OutlierEjection&, const OutlierEjection&) = default;
};

inline constexpr unsigned kMaxOutlierFailures = 1000, kMaxOutlierSeconds = 3600;

}  // namespace isthmus
