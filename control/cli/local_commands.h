// The commands that need no running gateway. Each prints to stdout, errors to stderr, and returns the exit code.
#pragma once

#include <string>

#include "control/cli/command_line.h"

namespace isthmus {

[[nodiscard]] int run_command(const std::string& config_file);
[[nodiscard]] int config_check_command(const std::string& config_file);
[[nodiscard]] int cleanup_command(const std::string& config_file);
[[nodiscard]] int allocate_command(const AllocateOptions& options);

}  // namespace isthmus
