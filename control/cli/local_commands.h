// The commands that need no running gateway. Each prints to stdout, errors to stderr, and returns the exit code.
#pragma once

#include <string>

#include "control/cli/command_line.h"

namespace isthmus {

// `name`: the gateway's, in the place of gateway.name; empty: as the file says.
[[nodiscard]] int run_command(const std::string& config_file, const std::string& name);
// Without a name: for every gateway that the file has settings of, if it has any.
[[nodiscard]] int config_check_command(const std::string& config_file, const std::string& name);
[[nodiscard]] int cleanup_command(const std::string& config_file, const std::string& name, bool keep_known);
[[nodiscard]] int config_init_command(const ConfigInitOptions& options);
// `config_file` empty: the usual one, if there is one.
[[nodiscard]] int doctor_command(const std::string& config_file, const std::string& name, const DoctorOptions& options);
[[nodiscard]] int allocate_command(const AllocateOptions& options);

}  // namespace isthmus
