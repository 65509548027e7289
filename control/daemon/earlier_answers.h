// Which gateways answered probes just before this one started anew within its process: until there was time to probe
// them again, they are taken to answer, so that one that only its answers keep is not removed meanwhile.
// Owner: Gateway. Thread: control. Failure: none.
#pragma once

#include <chrono>
#include <set>
#include <string>
#include <utility>

namespace isthmus {

class EarlierAnswers {
 public:
  using Clock = std::chrono::steady_clock;
  // For devices to come up, next hops to be found, and probes to be answered.
  static constexpr std::chrono::seconds kTime{10};

  void set(std::set<std::string> gateways, Clock::time_point now) {
    gateways_ = std::move(gateways);
    until_ = now + kTime;
  }
  [[nodiscard]] bool has(const std::string& gateway, Clock::time_point now) const {
    return now < until_ && gateways_.contains(gateway);
  }

 private:
  std::set<std::string> gateways_;
  Clock::time_point until_;
};

}  // namespace isthmus
