#include "test/unit/xdp/differential/steered_device.h"

#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <time.h>

#include <cstdlib>

namespace isthmus::test {
namespace {

constexpr std::size_t kLargestOutput = 4096;

template <typename T>
T need(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().text();
    std::abort();
  }
  return *std::move(result);
}

KernelVerdict verdict_of(unsigned action) {
  switch (action) {
    case XDP_PASS:
      return KernelVerdict::kPassed;
    case XDP_DROP:
      return KernelVerdict::kTaken;
    case XDP_REDIRECT:
      return KernelVerdict::kForwarded;
    default:
      return KernelVerdict::kAborted;
  }
}

std::uint64_t monotonic_now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

SteeredDevice::SteeredDevice(std::unique_ptr<MemoryDevice> memory, KernelFlows& flows, bool fragments)
    : memory_(std::move(memory)), out_(kLargestOutput) {
  SteerProgram::Settings settings;
  settings.fragments = fragments;
  settings.mac = memory_->mac();
  plain_ = need(SteerProgram::load(settings));
  settings.kernel_flows = &flows;
  program_ = need(SteerProgram::load(settings));
}

void SteeredDevice::join(bool underlay, Realm realm) {
  const Status joined = program_->join(underlay, realm);
  EXPECT_TRUE(joined.ok()) << joined.error().text();
}

KernelOutcome SteeredDevice::run(int program, const FrameBytes& frame) {
  LIBBPF_OPTS(bpf_test_run_opts, options);
  options.data_in = frame.data();
  options.data_size_in = static_cast<std::uint32_t>(frame.size());
  options.data_out = out_.data();
  options.data_size_out = static_cast<std::uint32_t>(out_.size());
  options.repeat = 1;
  const int error = bpf_prog_test_run_opts(program, &options);
  EXPECT_EQ(error, 0) << frame.size() << " bytes";
  KernelOutcome outcome;
  outcome.verdict = verdict_of(options.retval);
  outcome.bytes.assign(out_.begin(), out_.begin() + options.data_size_out);
  return outcome;
}

KernelOutcome SteeredDevice::kernel(const FrameBytes& frame) {
  program_->heartbeats()[0].nanoseconds = monotonic_now();
  return run(program_->program(), frame);
}

KernelOutcome SteeredDevice::without_flows(const FrameBytes& frame) { return run(plain_->program(), frame); }

Status SteeredDevice::steer(const SteerRules& rules) {
  for (SteerProgram* program : {program_.get(), plain_.get()}) {
    if (Status done = program->apply(rules); !done) {
      return done;
    }
  }
  return memory_->steer(rules);
}

Status SteeredDevice::change_steer(const SteerChange& change) {
  for (SteerProgram* program : {program_.get(), plain_.get()}) {
    if (Status done = program->change(change); !done) {
      return done;
    }
  }
  return memory_->change_steer(change);
}

}  // namespace isthmus::test
