#include "test/unit/doctor/check_rows.h"

namespace isthmus::test {
namespace {

const std::vector<CheckRow> kCpuRows = {
    {"cores", Level::kFails,
     [](Facts& f) {
       f.config->cores = {2, 7};
     },
     "7", "CPUs of 0-3"},
    {"cores", Level::kFails,
     [](Facts& f) {
       f.config->cores = {3};
       f.cpu.cgroup = {0, 1};
     },
     "the CPUs 3", "CPUs of 0-1"},
    {"cores", Level::kNote,
     [](Facts& f) {
       f.config->cores = {3};
       f.cpu.cpus.allowed = {0, 1};
     },
     "taskset", "CPUs of 0-1"},
    {"cores", Level::kSlow, [](Facts& f) { f.config->workers = 5; }, "5 workers on 4 CPUs", "engine.workers: 4"},
    {"cores", Level::kOk,
     [](Facts& f) {
       f.config->cores = {2, 3};
     },
     "2-3", ""},
    {"cpu-quota", Level::kSlow, [](Facts& f) { f.cpu.quota = 0.5; }, "0.5 CPUs", "CPUQuota"},
    {"cpu-quota", Level::kSlow,
     [](Facts& f) {
       f.cpu.quota = 1.5;
       f.config->idle = IdlePolicy::kSpin;
     },
     "never sleep", "limits.cpu"},
    {"cpu-quota", Level::kOk, [](Facts& f) { f.cpu.quota = 2; }, "2.0 CPUs", ""},
    {"cpu-siblings", Level::kSlow,
     [](Facts& f) {
       f.config->cores = {2, 3};
     },
     "2 and 3", "one CPU of each core"},
    {"cpu-siblings", Level::kOk,
     [](Facts& f) {
       f.config->cores = {1, 3};
     },
     "own", ""},
    {"cpu-governor", Level::kSlow,
     [](Facts& f) {
       f.cpu.governors = {{0, "powersave"}};
     },
     "powersave", "cpupower"},
    {"cpu-governor", Level::kOk,
     [](Facts& f) {
       f.cpu.governors = {{0, "performance"}};
     },
     "full", ""},
    {"cpu-isolation", Level::kNote,
     [](Facts& f) {
       f.config->cores = {1, 3};
       f.cpu.isolated = {3};
     },
     "CPUs 1", "isolcpus=1,3"},
    {"cpu-isolation", Level::kOk,
     [](Facts& f) {
       f.config->cores = {3};
       f.cpu.isolated = {3};
     },
     "isolated", ""},
    {"interrupts", Level::kNote,
     [](Facts& f) {
       f.config->cores = {3};
       f.underlay->interrupts = {{24, {1}}};
       f.cpu.irqbalance = true;
     },
     "irqbalance", "BANNED_CPULIST=3"},
    {"interrupts", Level::kSlow,
     [](Facts& f) {
       f.config->cores = {3};
       f.config->idle = IdlePolicy::kSpin;
       f.underlay->interrupts = {{24, {3}}};
     },
     "never sleep", "smp_affinity_list"},
    {"interrupts", Level::kOk,
     [](Facts& f) {
       f.config->cores = {3};
       f.underlay->interrupts = {{24, {1}}};
     },
     "CPUs 1", ""},
};

TEST(CpuChecks, EachConditionIsSaidWithItsFix) {
  expect_rows({"cores", "cpu-quota", "cpu-siblings", "cpu-governor", "cpu-isolation", "interrupts"}, kCpuRows);
}

}  // namespace
}  // namespace isthmus::test
