// fleet-load: load over many connections, with every byte verified.
//   fleet-load serve NAME PORT
//   fleet-load connect [--udp] [--push] [--connections N] [--per-second N] [--bytes N] [--interval-ms N] [--stall-ms N]
//                      ADDRESS PORT [ADDRESS PORT]...
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "test/support/load/client.h"
#include "test/support/load/server.h"
#include "test/support/load/signals.h"

namespace {

using isthmus::load::ClientOptions;

int usage() {
  std::fprintf(stderr,
               "usage: fleet-load serve NAME PORT\n"
               "       fleet-load connect [--udp] [--push] [--connections N] [--per-second N] [--bytes N]\n"
               "                          [--interval-ms N] [--stall-ms N] ADDRESS PORT [ADDRESS PORT]...\n");
  return 2;
}

std::uint32_t number(const char* text) { return static_cast<std::uint32_t>(std::strtoul(text, nullptr, 10)); }

// The numeric option of that name; null if there is none.
std::uint32_t* numeric_option(ClientOptions& options, std::string_view name) {
  if (name == "--connections") return &options.connections;
  if (name == "--per-second") return &options.per_second;
  if (name == "--bytes") return &options.bytes;
  if (name == "--interval-ms") return &options.interval_ms;
  if (name == "--stall-ms") return &options.stall_ms;
  return nullptr;
}

int run_connect(int count, char** words) {
  ClientOptions options;
  for (int i = 0; i < count; ++i) {
    const std::string_view word = words[i];
    std::uint32_t* target = numeric_option(options, word);
    if (word == "--udp") {
      options.udp = true;
    } else if (word == "--push") {
      options.mode = isthmus::load::Mode::kPush;
    } else if (i + 1 >= count) {
      return usage();
    } else if (target != nullptr) {
      *target = number(words[++i]);
    } else {
      options.targets.push_back(
          isthmus::load::parse_address(words[i], static_cast<std::uint16_t>(number(words[i + 1]))));
      ++i;
    }
  }
  if (options.targets.empty() || options.connections == 0) return usage();
  isthmus::load::run_client(options);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  isthmus::load::catch_stop_signals();
  isthmus::load::raise_file_limit();
  const std::string_view command = argc > 1 ? argv[1] : "";
  if (command == "connect" && argc > 3) return run_connect(argc - 2, argv + 2);
  if (command == "serve" && argc == 4) {
    isthmus::load::serve(argv[2], static_cast<std::uint16_t>(number(argv[3])));
    return 0;
  }
  return usage();
}
