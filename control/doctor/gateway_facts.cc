// Of what the configuration names: the hub's folder, state, admin socket, and a gateway that runs.
#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "control/admin/client.h"
#include "control/admin/request.h"
#include "control/doctor/gather.h"
#include "control/model/model.h"
#include "control/source/file/hub_folder.h"
#include "control/source/file/hub_objects.h"
#include "dataplane/api/engine.h"

namespace isthmus {
namespace {

constexpr std::chrono::milliseconds kAnswerTime{3000};
constexpr std::size_t kMostFleetFiles = 4096;

bool is_folder(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

// It, or if there is none what it would be made in.
bool may_write(const std::string& path) {
  std::filesystem::path at(path);
  while (!is_folder(at.string()) && at.has_parent_path() && at != at.parent_path()) {
    at = at.parent_path();
  }
  return faccessat(AT_FDCWD, at.c_str(), W_OK | X_OK, AT_EACCESS) == 0;
}

// The own objects of the gateway, where the file hub has them.
void read_own(const GatewayConfig& config, Facts& facts) {
  if (!config.hub_file) {
    return;
  }
  const std::string folder = *config.hub_file + "/" + std::string(kFleetFolder);
  const FolderListing listing = list_folder(folder);
  HubObjects objects;
  for (std::size_t i = 0; i < std::min(listing.manifests.size(), kMostFleetFiles); ++i) {
    const std::string path = folder + "/" + listing.manifests[i];
    if (const FileText file = read_file_text(path); file.outcome == FileText::Outcome::kRead) {
      objects.set_text(path, "", file.text);
    }
  }
  Model model;
  for (const ObjectDelta& delta : objects.take_deltas()) {
    model.apply(0, delta);
  }
  auto own = find_own_gateway(model, config.cluster, config.name);
  if (own) {
    facts.own = *std::move(own);
  } else if (!config.kubernetes.cluster && !config.kubernetes.fleet && !config.etcd.used() && listing.error == 0) {
    facts.own_error = own.error();
  }
}

// Of the file system of that folder; nullopt: there is no such folder.
std::optional<std::uint64_t> free_bytes(const std::string& folder) {
  struct statvfs system {};
  return statvfs(folder.c_str(), &system) == 0 ? std::optional(std::uint64_t{system.f_bavail} * system.f_frsize)
                                               : std::nullopt;
}

StateFacts read_state(const GatewayConfig& config, std::int64_t now) {
  StateFacts state;
  state.directory = is_folder(config.state_directory);
  state.directory_writable = may_write(config.state_directory);
  state.free = free_bytes(config.state_directory);
  struct stat file {};
  if (stat(Engine::state_file(config.state_directory, config.name).c_str(), &file) == 0) {
    state.table = static_cast<std::uint64_t>(file.st_blocks) * 512;
  }
  state.known_directory = is_folder(config.last_known_directory);
  state.known_writable = may_write(config.last_known_directory);
  state.known_free = free_bytes(config.last_known_directory);
  std::error_code error;
  const std::string kept = config.last_known_directory + "/" + config.name + ".known";
  for (std::filesystem::directory_iterator at(kept, error), end; !error && at != end; at.increment(error)) {
    if (stat(at->path().c_str(), &file) == 0) {
      const std::int64_t age = std::max<std::int64_t>(now - file.st_mtime, 0);
      state.known_age_seconds = std::min(age, state.known_age_seconds.value_or(age));
    }
  }
  return state;
}

AdminFacts read_admin(const GatewayConfig& config) {
  AdminFacts admin;
  const std::string folder = std::filesystem::path(config.admin_socket).parent_path().string();
  admin.folder = is_folder(folder);
  admin.folder_writable = may_write(folder);
  admin.group = getgrnam(config.admin_group.c_str()) != nullptr;
  admin.listens = gateway_listens(config.admin_socket);
  if (!admin.listens) {
    return admin;
  }
  admin.answers = false;
  const auto answer = ask_gateway(config.admin_socket, encode_request({}), kAnswerTime);
  const auto document = answer ? nlohmann::json::parse(*answer, nullptr, false) : nlohmann::json();
  const auto tree = document.is_object() ? document.value("status", nlohmann::json()) : nlohmann::json();
  if (tree.is_object() && tree.contains("state") && tree["state"].is_string()) {
    admin.answers = true;
    admin.state = tree["state"].get<std::string>();
    admin.problems = tree.contains("problems") && tree["problems"].is_array() ? tree["problems"].size() : 0;
  }
  return admin;
}

}  // namespace

void read_gateway_facts(Facts& facts) {
  const GatewayConfig& config = *facts.config;
  read_own(config, facts);
  facts.state = read_state(config, facts.now);
  facts.admin = read_admin(config);
}

}  // namespace isthmus
