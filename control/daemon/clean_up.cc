#include <fcntl.h>
#include <net/if.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>

#include "control/admin/client.h"
#include "control/daemon/daemon.h"
#include "control/daemon/node.h"
#include "control/restore/store.h"
#include "dataplane/api/devices.h"

namespace isthmus {
namespace {

// Keeps the first error.
void keep_first(Status& result, const Status& step) {
  if (!step && result) {
    result = step;
  }
}

// The folder is one that its user may have put a link to elsewhere in the place of, which is not followed: this may run
// as root.
Status remove_connection_file(const GatewayConfig& config) {
  const std::filesystem::path file = Engine::state_file(config.state_directory, config.name);
  const auto cannot = [&file](const char* why) {
    return Status(Error{std::string("cannot remove the connection table: ") + why, file.string(), "remove it by hand"});
  };
  const int folder = open(file.parent_path().c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (folder < 0) {
    return errno == ENOENT    ? Status(Ok{})
           : errno == ENOTDIR ? cannot("its folder is a link, or no folder")
                              : cannot(std::strerror(errno));
  }
  const int code = unlinkat(folder, file.filename().c_str(), 0) == 0 ? 0 : errno;
  close(folder);
  std::error_code still_in_use;
  std::filesystem::remove(file.parent_path(), still_in_use);  // by other gateways
  return code == 0 || code == ENOENT ? Status(Ok{}) : cannot(std::strerror(code));
}

Status remove_last_known(const GatewayConfig& config) {
  Status removed = Store::remove(config.last_known_directory, config.name);
  std::error_code still_in_use;
  std::filesystem::remove(config.last_known_directory, still_in_use);  // by other gateways
  return removed;
}

}  // namespace

Status clean_up(const GatewayConfig& config, bool keep_known) {
  if (gateway_listens(config.admin_socket)) {
    return Error{"the gateway is running", config.admin_socket, "stop it first, then clean up"};
  }
  auto kernel = Kernel::open();
  if (!kernel) {
    return kernel.error();
  }
  Status result = Ok{};
  keep_first(result, (*kernel)->remove_closed_routes());
  keep_first(result, StandingTwins(**kernel).give_back_unused(config));
  if (config.underlay.dpdk.empty()) {
    keep_first(result, detach_steer(config.underlay.interface));
  }
  if (config.local.veth) {
    // Its routes are removed with it; of the program at its other end, what is pinned is not.
    const LocalDeviceOptions options = local_device_options(config, OwnGateway{}, Bytes{1500});
    const Status detached = detach_steer(options.engine_end_name());
    if (if_nametoindex(options.engine_end_name().c_str()) != 0) {  // else it is gone, and an error says no more
      keep_first(result, detached);
    }
    keep_first(result, (*kernel)->remove_local_device(options));
  } else if (!config.one_device() && config.local.device.dpdk.empty()) {
    keep_first(result, detach_steer(config.local.device.interface));
  }
  for (const DeviceConfig* device : {&config.underlay, &config.local.device}) {
    if (!device->dpdk.empty() && (*kernel)->link(device->interface)) {
      const Status given = (*kernel)->give_back_addresses(device->interface);
      keep_first(result, given ? (*kernel)->remove_twin(device->interface) : given);
    }
  }
  keep_first(result, remove_connection_file(config));
  if (!keep_known) {
    keep_first(result, remove_last_known(config));
  }
  return result;
}

}  // namespace isthmus
