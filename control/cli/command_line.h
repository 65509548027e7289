// The parsed command line: a plain value for main to act on. Thread: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "control/cli/query.h"
#include "control/machine/first_config.h"

namespace isthmus {

enum class Verb : std::uint8_t { kRun, kQuery, kAllocate, kConfigCheck, kConfigInit, kDoctor, kCleanup, kVersion };

struct AllocateOptions {
  std::string service;              // namespace/name; empty: of a cluster
  std::string alias;                // the cluster whose pods get aliases; empty: of a service
  std::string hub;                  // a folder; empty: an API server
  std::string kubeconfig, context;  // of the API server
  std::string cluster;
  std::vector<std::string> pools;
  bool dry_run = false;
};

struct ConfigInitOptions {
  std::string output;  // "-": stdout
  bool force = false;
  FirstConfigChoices choices;
};

struct DoctorOptions {
  bool json = false, all = false;
};

struct CommandLine {
  Verb verb = Verb::kVersion;
  std::string config_file;
  std::string name;         // of the gateway, in the place of gateway.name; empty: as the file says
  bool keep_known = false;  // kCleanup
  QueryOptions query;
  AllocateOptions allocate;
  ConfigInitOptions config_init;
  DoctorOptions doctor;
};

// nullopt: the program is done (help was printed, or an error of the command line) and exits with `exit_code`.
[[nodiscard]] std::optional<CommandLine> parse_command_line(int argc, char** argv, int& exit_code);

}  // namespace isthmus
