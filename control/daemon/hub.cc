#include "control/daemon/hub.h"

#include "control/source/file/file_source.h"

namespace isthmus {

Result<std::unique_ptr<Source>> make_source(const GatewayConfig& config) {
  if (config.hub_file) {
    return std::unique_ptr<Source>(std::make_unique<FileSource>(*config.hub_file));
  }
  return Error{"no hub is configured", config.file, "add hub.file.path"};
}

}  // namespace isthmus
