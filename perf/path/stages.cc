// run_path() of dataplane/path/path.cc, with the TSC read between the stages. The linker prefers this definition; all
// other code is the product's.
#include "perf/path/stages.h"

#include <x86intrin.h>

#include <array>

#include "dataplane/path/context.h"
#include "dataplane/path/path.h"

namespace isthmus {
namespace {

using Stage = void (*)(PathContext&, Burst&) noexcept;

constexpr std::array<std::pair<const char*, Stage>, 4> kStages = {
    {{"parse", parse}, {"lookup", lookup}, {"forward", forward}, {"decide", decide}}};
thread_local std::array<std::uint64_t, kStages.size()> cycles{};

}  // namespace

void run_path(PathContext& context, Burst& burst) noexcept {
  std::uint64_t before = __rdtsc();
  for (std::size_t i = 0; i < kStages.size(); ++i) {
    kStages[i].second(context, burst);
    const std::uint64_t after = __rdtsc();
    cycles[i] += after - before;
    before = after;
  }
}

namespace perf {

std::vector<std::pair<const char*, std::uint64_t>> take_stage_cycles() {
  std::vector<std::pair<const char*, std::uint64_t>> cycles_of;
  for (std::size_t i = 0; i < kStages.size(); ++i) {
    cycles_of.emplace_back(kStages[i].first, cycles[i]);
    cycles[i] = 0;
  }
  return cycles_of;
}

}  // namespace perf
}  // namespace isthmus
