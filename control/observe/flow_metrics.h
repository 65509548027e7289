// Counts of received flow records by kind, as in Hubble's metrics. Events that the workers sampled out are not counted;
// the engine has the exact number of dropped packets. Thread: control only. Bounded: of a packet only protocol, TCP
// flags and ICMP type become labels.
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
