#include "control/cli/local_commands.h"

#include <cstdio>
#include <optional>
#include <utility>
#include <vector>

#include "config/load/load.h"
#include "control/cli/exit_code.h"
#include "control/daemon/daemon.h"

namespace isthmus {
namespace {

// The configuration, or nothing after every error in it was printed.
std::optional<GatewayConfig> read_config(const std::string& file, const std::string& name) {
  const auto text = read_config_text(file);
  if (!text) {
    complain(text.error());
    return std::nullopt;
  }
  auto config = parse_config(*text, file, name);
  if (config) {
    return *std::move(config);
  }
  for (const Error& error : check_config(*text, file, name)) {
    complain(error);
  }
  return std::nullopt;
}

int exit_code_of(const Status& status) {
  if (status) {
    return kExitOk;
  }
  complain(status.error());
  return kExitFailure;
}

}  // namespace

int run_command(const std::string& config_file, const std::string& name) {
  const auto config = read_config(config_file, name);
  // An error that stops a gateway is in its log already.
  return !config ? kExitUsage : run(*config) ? kExitOk : kExitFailure;
}

int config_check_command(const std::string& config_file, const std::string& name) {
  std::vector<std::string> names;
  if (const auto text = name.empty() ? read_config_text(config_file) : Result<std::string>(std::string()); text) {
    names = gateways_in(*text);
  }
  if (names.empty()) {
    names.push_back(name);
  }
  int exit_code = kExitOk;
  for (const std::string& each : names) {
    if (const auto config = read_config(config_file, each)) {
      std::printf("%s: good. In force, with defaults:\n%s", config_file.c_str(), describe(*config).c_str());
    } else {
      exit_code = kExitUsage;
    }
  }
  return exit_code;
}

int cleanup_command(const std::string& config_file, const std::string& name, bool keep_known) {
  const auto config = read_config(config_file, name);
  return config ? exit_code_of(clean_up(*config, keep_known)) : kExitUsage;
}

}  // namespace isthmus
