// Counts by kind of the flows that were received, as Hubble's metrics have them. What the workers left out is not in
// them; the exact number of dropped packets is the engine's. Thread: control only. Bounded: no label is chosen by a
// packet but its protocol, flags and ICMP type.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "control/observe/flow.h"

namespace isthmus {

class FlowMetrics {
 public:
  using Labels = std::vector<std::string>;         // values, in the order of the metric's label names
  using Series = std::map<Labels, std::uint64_t>;  // counts

  void count(const Flow& flow);

  [[nodiscard]] const Series& processed() const { return processed_; }       // protocol, type, subtype, verdict
  [[nodiscard]] const Series& dropped() const { return dropped_; }           // reason, protocol
  [[nodiscard]] const Series& tcp_flags() const { return tcp_flags_; }       // flag, family
  [[nodiscard]] const Series& icmp() const { return icmp_; }                 // family, type
  [[nodiscard]] const Series& policy_verdicts() const { return verdicts_; }  // direction, match, action

 private:
  Series processed_, dropped_, tcp_flags_, icmp_, verdicts_;
};

}  // namespace isthmus
