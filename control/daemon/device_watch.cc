#include "control/daemon/device_watch.h"

#include <spdlog/spdlog.h>

#include <utility>

namespace isthmus {
namespace {

constexpr Bytes kMinIpv6Mtu{1280};  // RFC 8200 section 5

}  // namespace

void DeviceWatch::check() {
  problems_.clear();
  for (DeviceCondition& condition : node_.engine->check_devices()) {
    for (const std::string& change : condition.changes) {
      spdlog::warn("{}", change);
    }
    for (Error& problem : condition.problems) {
      problems_.push_back(std::move(problem));
    }
  }
  for (Error& problem : node_.twins->keep()) {
    problems_.push_back(std::move(problem));
  }
  if (node_.kernel_end) {
    keep_local_device();
    keep_reverse_path();
  }
}

void DeviceWatch::keep_local_device() {
  const LocalDeviceOptions options = local_device_options(config_, own_, node_.engine->device(node_.underlay).mtu());
  if (options.mtu < kMinIpv6Mtu) {
    const std::string& underlay = node_.interfaces[node_.underlay.value()];
    problems_.push_back({"the underlay's MTU of " + std::to_string(node_.engine->device(node_.underlay).mtu().value()) +
                             " leaves " + std::to_string(options.mtu.value()) +
                             " bytes for packets of the fleet, less than the " + std::to_string(kMinIpv6Mtu.value()) +
                             " of IPv6, which the kernel turns off",
                         options.kernel_end, "raise the MTU of " + underlay + ", or do without IPv6 in the fleet"});
  }
  const auto present = node_.kernel->link(options.kernel_end);
  if (present && present->mtu == options.mtu) {
    return;
  }
  const auto made = node_.kernel->make_local_device(options);
  if (!made) {
    problems_.push_back(made.error());
  } else if (present) {
    spdlog::warn("{}: set its MTU from {} to {}", options.kernel_end, present->mtu.value(), options.mtu.value());
  } else {
    spdlog::warn("{}: the local device was removed; made it again", options.kernel_end);
  }
}

void DeviceWatch::keep_reverse_path() {
  const std::string& underlay = node_.interfaces[node_.underlay.value()];
  const auto loosened = node_.kernel->loosen_reverse_path(underlay);
  if (!loosened) {
    problems_.push_back(loosened.error());
  } else if (*loosened) {
    spdlog::warn(
        "{}: set rp_filter from strict to loose: packets of the fleet may arrive by another gateway of this cluster",
        underlay);
  }
}

}  // namespace isthmus
