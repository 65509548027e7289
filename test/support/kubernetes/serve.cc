// The test API server as a program, for gateways that run as programs:
//   api-server ADDRESS PORT CA_FILE FIRST_VERSION
// Writes its CA certificate to CA_FILE once it listens, then executes commands from standard input, one JSON object per
// line:
//   {"do": "serve", "collection": "/api/v1/pods", "kind": "Pod", "version": "v1"}
//   {"do": "put", "collection": ..., "object": {...}}
//   {"do": "remove", "collection": ..., "namespace": ..., "name": ...}
//   {"do": "compact", "collection": ...}    older watches must list again
//   {"do": "forbid", "collection": ..., "on": true}    every request of it is answered with 403
// Exits at the end of its input, or with status 1 at a command that fails.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>

#include "test/support/kubernetes/api_server.h"

namespace {

using nlohmann::json;

void execute(isthmus::ApiServer& server, const json& command) {
  const std::string what = command.at("do"), collection = command.at("collection");
  if (what == "serve") {
    server.serve(collection, command.at("kind"), command.at("version"));
  } else if (what == "put") {
    server.put(collection, command.at("object"));
  } else if (what == "remove") {
    server.remove(collection, command.at("namespace"), command.at("name"));
  } else if (what == "compact") {
    server.compact(collection);
  } else if (what == "forbid") {
    server.forbid(collection, command.at("on"));
  } else {
    throw std::invalid_argument("do: " + what);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fputs("api-server ADDRESS PORT CA_FILE FIRST_VERSION\n", stderr);
    return 2;
  }
  isthmus::ApiServerConfig config;
  config.address = argv[1];
  config.port = static_cast<std::uint16_t>(std::strtoul(argv[2], nullptr, 10));
  config.first_version = std::strtoull(argv[4], nullptr, 10);
  isthmus::ApiServer server(config);
  const std::string file = argv[3], hidden = file + ".new";
  std::ofstream(hidden) << server.authority().certificate();
  if (std::rename(hidden.c_str(), file.c_str()) != 0) {
    std::perror(argv[3]);
    return 1;
  }
  for (std::string line; std::getline(std::cin, line);) {
    try {
      execute(server, json::parse(line));
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s: %s\n", error.what(), line.c_str());
      return 1;
    }
  }
  return 0;
}
