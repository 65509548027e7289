#include <filesystem>
#include <string>
#include <system_error>

#include "control/admin/client.h"
#include "control/daemon/daemon.h"
#include "control/daemon/node.h"
#include "dataplane/api/devices.h"

namespace isthmus {
namespace {

// Keeps the first error and goes on.
void note(Status& result, const Status& step) {
  if (!step && result) {
    result = step;
  }
}

Status remove_connection_file(const GatewayConfig& config) {
  const auto file = std::filesystem::path(config.state_directory) / ("isthmus-" + config.name + ".flows");
  std::error_code failed;
  std::filesystem::remove(file, failed);
  return failed ? Status(Error{"cannot remove the connection table: " + failed.message(), file.string()})
                : Status(Ok{});
}

}  // namespace

Status clean_up(const GatewayConfig& config) {
  if (gateway_listens(config.admin_socket)) {
    return Error{"the gateway is running", config.admin_socket, "stop it first, then clean up"};
  }
  auto kernel = Kernel::open();
  if (!kernel) {
    return kernel.error();
  }
  Status result = Ok{};
  note(result, detach_steer(config.underlay.interface));
  if (config.local.veth) {
    // The routes on it and the program of its other end go with it.
    note(result, (*kernel)->remove_local_device(local_device_options(config, Bytes{1500})));
  } else if (config.local.device.interface != config.underlay.interface) {
    note(result, detach_steer(config.local.device.interface));
  }
  note(result, remove_connection_file(config));
  return result;
}

}  // namespace isthmus
