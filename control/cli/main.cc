// The program: runs the command that the command line names.
#include <cstdio>
#include <string_view>

#include "control/cli/command_line.h"
#include "control/cli/exit_code.h"
#include "control/cli/local_commands.h"
#include "control/cli/query.h"
#include "control/daemon/daemon.h"

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "run") {  // reading the command line takes time, too
    isthmus::hold_signals();
  }
  int exit_code = isthmus::kExitOk;
  const auto line = isthmus::parse_command_line(argc, argv, exit_code);
  if (!line) {
    return exit_code;
  }
  switch (line->verb) {
    case isthmus::Verb::kRun:
      return isthmus::run_command(line->config_file, line->name);
    case isthmus::Verb::kQuery:
      return isthmus::query(line->query);
    case isthmus::Verb::kAllocate:
      return isthmus::allocate_command(line->allocate);
    case isthmus::Verb::kConfigCheck:
      return isthmus::config_check_command(line->config_file, line->name);
    case isthmus::Verb::kConfigInit:
      return isthmus::config_init_command(line->config_init);
    case isthmus::Verb::kDoctor:
      return isthmus::doctor_command(line->config_file, line->name, line->doctor);
    case isthmus::Verb::kCleanup:
      return isthmus::cleanup_command(line->config_file, line->name, line->keep_known);
    case isthmus::Verb::kVersion:
      break;
  }
  std::printf("isthmus %s\n", ISTHMUS_VERSION);
  return isthmus::kExitOk;
}
