// Cost of outlier ejection on the control side for one service, by the number of its backends, half of which are
// ejected: hearing a failure and an answer of each, and a pass over the service with what follows from it. Both grow in
// proportion to the backends. Run manually, in a release build.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "control/health/outliers.h"

namespace {

using namespace isthmus;
using Clock = std::chrono::steady_clock;
using Kind = OpeningOutcome::Kind;

constexpr unsigned kTurns = 31;

double milliseconds(Clock::duration passed) { return std::chrono::duration<double, std::milli>(passed).count(); }

double median(std::vector<double>& values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void pass(Outliers& outliers, std::uint32_t backends, Outliers::Time now) {
  (void)outliers.settle(now);
  outliers.begin();
  for (std::uint32_t id = 1; id <= backends; ++id) {
    outliers.see(BackendId{id}, {ClusterId{1}, L4Port{80}});
  }
  outliers.end();
}

void hear(Outliers& outliers, std::uint32_t backend, std::uint32_t client, Kind kind, Outliers::Time now) {
  outliers.note({ServiceId{1}, BackendId{backend}, IpAddress::ipv4(Be32::of(0x0a010000 + client)), kind, true}, now);
}

void measure(std::uint32_t backends) {
  Outliers outliers;
  outliers.set_rules({2, 3600, 50});
  const Outliers::Time now{1'000'000};
  pass(outliers, backends, now);
  for (std::uint32_t id = 1; id <= backends / 2; ++id) {
    hear(outliers, id, 1, Kind::kRefused, now);
    hear(outliers, id, 2, Kind::kRefused, now);
  }
  hear(outliers, backends, 1, Kind::kAnswered, now);
  hear(outliers, backends, 2, Kind::kAnswered, now);
  pass(outliers, backends, now);
  std::vector<double> heard, passed;
  for (unsigned turn = 0; turn < kTurns; ++turn) {
    const auto start = Clock::now();
    for (std::uint32_t id = 1; id <= backends; ++id) {
      hear(outliers, id, 1, Kind::kRefused, now);
      hear(outliers, id, 2, Kind::kAnswered, now);
    }
    const auto between = Clock::now();
    (void)outliers.due(now);
    pass(outliers, backends, now);
    heard.push_back(milliseconds(between - start));
    passed.push_back(milliseconds(Clock::now() - between));
  }
  std::printf("%8u backends, %7zu ejected: %9.3f ms for a failure and an answer of each, %9.3f ms for a pass\n",
              backends, outliers.ejected(), median(heard), median(passed));
}

}  // namespace

int main() {
  for (const std::uint32_t backends : {100U, 1'000U, 10'000U, 50'000U}) {
    measure(backends);
  }
}
