// The server: TCP echo or push, and UDP echo, for any number of connections, on one thread.
#pragma once

#include <cstdint>
#include <string>

namespace isthmus::load {

// Serves on TCP and UDP `port` until SIGTERM or SIGINT; then returns.
void serve(const std::string& name, std::uint16_t port);

}  // namespace isthmus::load
