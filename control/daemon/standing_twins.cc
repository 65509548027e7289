#include "control/daemon/standing_twins.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/machine/dpdk_nic.h"

namespace isthmus {

Status StandingTwins::give_back_unused(const GatewayConfig& config) {
  auto standing = kernel_->standing_twins();
  if (!standing) {
    return standing.error();
  }
  for (const StandingTwin& each : *standing) {
    const auto uses = [&](const DeviceConfig& device) { return device.dpdk.empty() && device.interface == each.nic; };
    if (uses(config.underlay) || (!config.local.veth && uses(config.local.device))) {
      // A TAP without a process has no carrier.
      if (const auto link = kernel_->link(each.twin); link && link->running) {
        return Error{"a running process stands in for it by " + each.twin, each.nic,
                     "stop the gateway that has it over DPDK, or name another interface"};
      }
      if (Status given = kernel_->give_back_addresses(each.twin); !given) {
        return given;
      }
      spdlog::warn("{}: has its addresses and routes again, which {} had", each.nic, each.twin);
    }
  }
  return Ok{};
}

Status StandingTwins::take_over(const std::string& devargs, const std::string& twin) {
  const std::string nic = kernel_interface_of(devargs);
  if (nic.empty()) {
    return Ok{};
  }
  auto taken = kernel_->take_over_addresses(nic, twin);
  if (!taken) {
    return taken.error();
  }
  const auto link = kernel_->link(twin);
  if (!link) {
    return link.error();
  }
  spdlog::info("{}: has the addresses and routes of {} while the gateway runs", twin, nic);
  twins_.push_back({{twin, nic}, link->index, *std::move(taken)});
  return Ok{};
}

void StandingTwins::note() {
  for (const One& one : twins_) {
    if (const auto link = kernel_->link(one.twin.twin); link && link->index == one.index) {
      if (const Status noted = kernel_->note_addresses(one.twin.twin); !noted) {
        spdlog::warn("{}", noted.error().text());
      }
    }
  }
}

std::vector<Error> StandingTwins::keep() {
  std::vector<Error> problems;
  for (One& one : twins_) {
    problems.insert(problems.end(), one.problems.begin(), one.problems.end());
    const auto link = kernel_->link(one.twin.twin);
    if (!link || link->index == one.index) {
      continue;  // while it is gone, its device says so
    }
    if (const Status put = kernel_->put_noted_addresses(one.twin.twin); !put) {
      problems.push_back(put.error());
      continue;
    }
    one.index = link->index;
    spdlog::warn("{}: was made anew, and has its addresses and routes again", one.twin.twin);
  }
  return problems;
}

void StandingTwins::give_back() {
  for (const One& one : twins_) {
    if (const Status given = kernel_->give_back_addresses(one.twin.twin); !given) {
      spdlog::error("{}", given.error().text());
    }
  }
  twins_.clear();
}

}  // namespace isthmus
