// The options of the commands that look at this machine. Thread: any.
#pragma once

#include "control/cli/command_line.h"

namespace CLI {
class App;
}

namespace isthmus {

inline constexpr const char* kUsualConfigFile = "/etc/isthmus/gateway.yaml";

// `config`: the command of which it is a part. `line` outlives the parsing.
void add_config_init(CLI::App& config, CommandLine& line);
void add_doctor(CLI::App& app, CommandLine& line);

}  // namespace isthmus
