#include <algorithm>
#include <string>

#include "control/doctor/check_list.h"
#include "dataplane/api/engine.h"

namespace isthmus::doctor {
void check_connection_table(const Facts& facts, Findings& findings) {
  const GatewayConfig& config = *facts.config;
  const std::uint64_t needed = Engine::state_bytes(config.connections);
  if (!facts.state.directory) {
    findings.fails("there is no directory " + config.state_directory + " (state.directory)",
                   "connections do not survive a restart", "mkdir -p " + config.state_directory);
    return;
  }
  const std::string takes = std::to_string(config.connections) + " connections take " + mebibytes(needed);
  if (facts.state.free) {
    const std::uint64_t room = *facts.state.free + facts.state.table;
    if (room < needed) {
      std::uint32_t fits = config.connections;
      while (fits > 1024 && Engine::state_bytes(fits) > room) {
        fits /= 2;
      }
      findings.fails(takes + ", " + config.state_directory + " has " + mebibytes(room),
                     "the table is reserved at the start, which fails",
                     "engine.connections: " + std::to_string(fits) + ", or mount -o remount,size=" +
                         std::to_string((needed + needed / 4) >> 20) + "M " + config.state_directory);
      return;
    }
  }
  const std::uint64_t all = needed + buffer_bytes(config);
  if (facts.memory.limit && *facts.memory.limit < all) {
    findings.fails(takes + ", packet buffers " + mebibytes(buffer_bytes(config)) + "; the cgroup limits memory to " +
                       mebibytes(*facts.memory.limit),
                   "both count, and the kernel ends a process that goes beyond",
                   "more memory (resources.limits.memory, MemoryMax): twice " + mebibytes(all) +
                       ", or a lower engine.connections");
    return;
  }
  if (facts.memory.available != 0 && facts.memory.available + facts.state.table < needed) {
    findings.fails(takes + ", " + mebibytes(facts.memory.available) + " of memory are available",
                   "the kernel ends a process when there is none", "a lower engine.connections");
  } else if (!facts.state.directory_writable) {
    findings.note(takes + ", which fit; this user may not write to " + config.state_directory, "a gateway has to",
                  "run isthmus doctor as the gateway's user");
  } else {
    findings.ok(takes + ", of " +
                (facts.state.free ? mebibytes(*facts.state.free + facts.state.table) : "unknown room"));
  }
}

void check_last_known(const Facts& facts, Findings& findings) {
  const GatewayConfig& config = *facts.config;
  if (config.last_known_age_ms == 0) {
    findings.note("state.last_known_age is 0", "after a restart without its hubs, the gateway serves nothing",
                  "leave it out: 24h");
    return;
  }
  const std::string& folder = config.last_known_directory;
  if (!facts.state.known_writable) {
    if (facts.process.root) {
      findings.slow(folder + " (state.last_known_directory) " +
                        (facts.state.known_directory ? "cannot be written to" : "does not exist, and cannot be made"),
                    "after a restart without its hubs, the gateway serves nothing",
                    "StateDirectory=isthmus in the unit, or mount " + folder + " from the host");
    } else {
      findings.note("whether " + folder + " can be written to by the gateway's user cannot be seen",
                    "what hubs said last is kept there", "run isthmus doctor as root");
    }
    return;
  }
  constexpr std::uint64_t kLittle = std::uint64_t{16} << 20;
  if (facts.state.known_free && *facts.state.known_free < kLittle) {
    findings.slow(folder + " (state.last_known_directory) has room for " + mebibytes(*facts.state.known_free),
                  "what hubs say is not kept when it is full; after a restart without them, the gateway serves nothing",
                  "make room there, or state.last_known_directory elsewhere");
    return;
  }
  const auto& age = facts.state.known_age_seconds;
  const auto most = static_cast<std::int64_t>(config.last_known_age_ms / 1000);
  if (age && *age > most) {
    findings.note("what is kept in " + folder + " is " + std::to_string(*age / 3600) + " hours old",
                  "it is not used any more: a start without hubs serves nothing",
                  "start the gateway while they answer");
  } else {
    findings.ok(folder +
                (age ? ": kept, changed " + std::to_string(*age / 60) + " minutes ago" : ": nothing is kept yet"));
  }
}

void check_admin_socket(const Facts& facts, Findings& findings) {
  const GatewayConfig& config = *facts.config;
  const std::string folder = config.admin_socket.substr(0, std::max<std::size_t>(config.admin_socket.rfind('/'), 1));
  if (!facts.admin.group) {
    findings.fails("there is no group " + config.admin_group + " (admin.group)", "the gateway does not start",
                   "groupadd --system " + config.admin_group + ", or leave admin.group out");
    return;
  }
  if (facts.admin.folder_writable) {
    findings.ok(config.admin_socket + ", for root and the group " + config.admin_group);
  } else if (facts.process.root) {
    findings.fails("the socket's folder " + folder + (facts.admin.folder ? " cannot be written to" : " cannot be made"),
                   "the gateway does not start", "RuntimeDirectory=isthmus in the unit, or admin.socket elsewhere");
  } else {
    findings.note("this user may not write to " + folder, "a gateway has its admin socket there",
                  "run isthmus doctor as the gateway's user");
  }
}

void check_running(const Facts& facts, Findings& findings) {
  const std::string name = facts.config->name;
  if (!facts.admin.listens) {
    findings.ok("none of the name " + name);
  } else if (facts.admin.answers != true) {
    findings.note("a gateway of the name " + name + " has the socket, and does not answer this user",
                  "one that is started would take over from it",
                  "isthmus status as root, or in the group " + facts.config->admin_group);
  } else if (facts.admin.problems != 0) {
    findings.slow(name + " runs, state " + facts.admin.state + ", and lists " + std::to_string(facts.admin.problems) +
                      (facts.admin.problems == 1 ? " problem" : " problems"),
                  "it says itself what each of them is", "isthmus status --socket " + facts.config->admin_socket);
  } else {
    findings.ok(name + " runs, state " + facts.admin.state + ", and lists no problem");
  }
}

}  // namespace isthmus::doctor
