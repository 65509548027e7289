// Maglev's balance and disruption: how evenly slots are spread, and how many slots move to another backend when a
// backend leaves or joins, compared with the optimum (only the slots of the leaving backend; an equal share for the
// joining one). Deterministic; medians over different backend sets with the median absolute deviation.
//   maglev-quality [--json FILE]
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "dataplane/api/maglev.h"
#include "perf/figures/figures.h"

namespace isthmus {
namespace {

constexpr int kTrials = 15;

struct Spread {
  double median, deviation;
};

Spread spread(std::vector<double> values) {
  const auto median = [](std::vector<double>& v) {
    std::sort(v.begin(), v.end());
    return v[v.size() / 2];
  };
  const double middle = median(values);
  std::vector<double> off;
  for (const double v : values) {
    off.push_back(std::abs(v - middle));
  }
  return {middle, median(off)};
}

std::vector<MaglevBackend> random_backends(std::mt19937& random, std::size_t count) {
  std::vector<MaglevBackend> backends;
  for (std::size_t i = 0; i < count; ++i) {
    const auto host = static_cast<std::uint32_t>((random() & 0xffff0000U) | i);  // distinct low halves
    backends.push_back({IpAddress::ipv4(Be32::of(host)), L4Port{8080}, IpProtocol::kTcp});
  }
  return backends;
}

struct Trial {
  double largest, leave, join;  // percent: largest share above the mean; slots moved
};

// Percentage of slots with different backends in `a` and `b`.
double moved(const MaglevRing& a, const MaglevRing& b) {
  std::size_t count = 0;
  for (std::size_t slot = 0; slot < a.size(); ++slot) {
    count += a[slot] != b[slot] ? 1 : 0;
  }
  return 100.0 * static_cast<double>(count) / static_cast<double>(a.size());
}

Trial run(std::mt19937& random, std::size_t count, std::uint32_t slots) {
  const std::vector<MaglevBackend> more = random_backends(random, count + 1);
  const std::vector<MaglevBackend> all(more.begin(), more.end() - 1), fewer(more.begin(), more.end() - 2);
  const auto ring = maglev_ring(all, slots);
  std::vector<std::size_t> share(count);
  for (const std::uint16_t index : ring) {
    ++share[index];
  }
  const double mean = static_cast<double>(slots) / static_cast<double>(count);
  const double largest = static_cast<double>(*std::max_element(share.begin(), share.end()));
  return {100.0 * (largest / mean - 1), moved(ring, maglev_ring(fewer, slots)), moved(ring, maglev_ring(more, slots))};
}

perf::Figure print_row(std::size_t count, std::uint32_t slots) {
  std::mt19937 random(static_cast<std::mt19937::result_type>(count * 131071 + slots));
  std::vector<double> largest, leave, join;
  for (int i = 0; i < kTrials; ++i) {
    const Trial trial = run(random, count, slots);
    largest.push_back(trial.largest);
    leave.push_back(trial.leave);
    join.push_back(trial.join);
  }
  const Spread l = spread(largest), out = spread(leave), in = spread(join);
  const auto n = static_cast<double>(count);
  std::printf("%7u %9zu   %7.2f ±%5.2f   %7.3f ±%6.3f %8.3f   %7.3f ±%6.3f %8.3f\n", slots, count, l.median,
              l.deviation, out.median, out.deviation, 100.0 / n, in.median, in.deviation, 100.0 / (n + 1));
  perf::Figure figure;
  figure.name = "quality/maglev";
  figure.reference = "optimum";
  figure.ratio_to_reference = out.median / (100.0 / n);
  figure.measures = {{"slots", static_cast<double>(slots)},     {"backends", n},
                     {"largest share above mean, %", l.median}, {"slots moved by a leave, %", out.median},
                     {"optimum of a leave, %", 100.0 / n},      {"slots moved by a join, %", in.median},
                     {"optimum of a join, %", 100.0 / (n + 1)}};
  return figure;
}

}  // namespace
}  // namespace isthmus

int main(int argc, char** argv) {
  const bool to_file = argc == 3 && std::strcmp(argv[1], "--json") == 0;
  if (argc != 1 && !to_file) {
    std::fprintf(stderr, "usage: maglev-quality [--json FILE]\n");
    return 2;
  }
  std::vector<isthmus::perf::Figure> figures;
  std::printf("Maglev: medians of %d backend sets, with their deviation; all in percent\n\n", isthmus::kTrials);
  std::printf("                    largest share     slots moved by a leave       slots moved by a join\n");
  std::printf("  slots  backends      above mean     measured         optimum     measured         optimum\n");
  for (const std::uint32_t slots : {isthmus::kMaglevPeerSlots, 1021U, isthmus::kMaglevSlots, 65521U}) {
    for (const std::size_t count : {2U, 3U, 10U, 50U, 100U, 500U, 1000U}) {
      if (count * 5 <= slots) {
        figures.push_back(isthmus::print_row(count, slots));
      }
    }
  }
  if (to_file) {
    isthmus::perf::write_json(figures, argv[2]);
  }
  return 0;
}
