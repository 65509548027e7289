// The test API server as a program, for gateways that run as programs:
//   api-server ADDRESS PORT CA_FILE FIRST_VERSION
// Writes its certificate authority to CA_FILE when it listens, and does what its standard input says, a line of JSON
// each:
//   {"do": "serve", "collection": "/api/v1/pods", "kind": "Pod", "version": "v1"}
//   {"do": "put", "collection": ..., "object": {...}}
//   {"do": "remove", "collection": ..., "namespace": ..., "name": ...}
//   {"do": "compact", "collection": ...}    watches from before must list again
// Ends with its input; a line that it cannot do ends it with status 1.
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

void obey(isthmus::ApiServer& server, const json& order) {
  const std::string what = order.at("do"), collection = order.at("collection");
  if (what == "serve") {
    server.serve(collection, order.at("kind"), order.at("version"));
  } else if (what == "put") {
    server.put(collection, order.at("object"));
  } else if (what == "remove") {
    server.remove(collection, order.at("namespace"), order.at("name"));
  } else if (what == "compact") {
    server.compact(collection);
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
  isthmus::ApiServerPlace place;
  place.address = argv[1];
  place.port = static_cast<std::uint16_t>(std::strtoul(argv[2], nullptr, 10));
  place.first_version = std::strtoull(argv[4], nullptr, 10);
  isthmus::ApiServer server(place);
  const std::string file = argv[3], hidden = file + ".new";
  std::ofstream(hidden) << server.authority().certificate();
  if (std::rename(hidden.c_str(), file.c_str()) != 0) {
    std::perror(argv[3]);
    return 1;
  }
  for (std::string line; std::getline(std::cin, line);) {
    try {
      obey(server, json::parse(line));
    } catch (const std::exception& error) {
      std::fprintf(stderr, "%s: %s\n", error.what(), line.c_str());
      return 1;
    }
  }
  return 0;
}
