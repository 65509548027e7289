#include "control/source/etcd/engine.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "config/files/read_file.h"
#include "config/yaml/read.h"

namespace isthmus {
namespace {

constexpr std::chrono::milliseconds kViewPeriod{100};
constexpr std::chrono::milliseconds kLongWait{500};
constexpr const char* kMeshHub = "";

}  // namespace

EtcdEngine::EtcdEngine(const EtcdSourceOptions& options, EtcdOutbox& outbox)
    : options_(options),
      outbox_(outbox),
      registry_({options.own_cluster, options.own_gateway, options.own_id, options.max_connected_clusters}, out_),
      // Deferred: the cluster that releases an id is still changing its own state.
      shared_{loop_, options_, registry_, out_,
              [this] {
                retry_timer_.set(std::chrono::milliseconds(0), [this] {
                  for (auto& [name, hub] : hubs_) {
                    hub.connection->retry_configs();
                  }
                });
              }},
      scan_timer_(loop_),
      retry_timer_(loop_) {}

EtcdEngine::~EtcdEngine() = default;

void EtcdEngine::run() {
  started_ = EtcdLoop::Clock::now();
  registry_.publish_profile();
  rescan();
  loop_.run([this] { publish_changes(); });
  hubs_.clear();  // cancels all calls; published objects stay in force
}

void EtcdEngine::rescan_soon() {
  loop_.post([this] { rescan(); });
}

void EtcdEngine::set_restored(RestoredMembers members) {
  loop_.post([this, members = std::move(members)] {
    if (registry_.set_restored(members)) {
      shared_.id_released();
    }
  });
}

void EtcdEngine::rescan() {
  folder_problems_.clear();
  if (!options_.folder.empty()) {
    scan_folder();
  }
  if (!options_.kvstoremesh.empty()) {
    read_mesh_config();
  }
  scan_timer_.set(options_.folder_period, [this] { rescan(); });
}

void EtcdEngine::add_folder_problem(std::string path, std::string what, std::string fix) {
  folder_problems_.push_back({{std::move(path), 0}, std::move(what), std::move(fix)});
}

// Follows symbolic links, which the entries of a mounted Secret are.
void EtcdEngine::scan_folder() {
  std::error_code error;
  std::filesystem::directory_iterator entries(options_.folder, error);
  if (error) {
    add_folder_problem(options_.folder,
                       "the folder of etcd configurations cannot be read: " + error.message() +
                           "; the last known data of its clusters stays in force",
                       "restore the folder, with one etcd client configuration for each remote cluster");
    return;
  }
  std::set<std::string> present, unread;
  for (const std::filesystem::directory_iterator end; entries != end && !error; entries.increment(error)) {
    const std::filesystem::directory_entry& entry = *entries;
    const std::string name = entry.path().filename().string(), path = entry.path().string();
    std::error_code ignored;
    const bool followed = hubs_.contains(name);
    if (name.starts_with('.') || name == options_.own_cluster || (!followed && !entry.is_regular_file(ignored))) {
      continue;
    }
    const RegularFile file = read_regular_file(path, kMaxConfigBytes);
    if (file.error == ENOENT) {
      continue;  // a link to nothing, as a Secret whose key was removed leaves behind
    }
    if (followed &&
        (!file.why.empty() || !is_etcd_client_config(file.text))) {  // only a missing name is a removed cluster
      hubs_[name].missed = false;
      present.insert(name);
      add_folder_problem(
          path,
          (file.why.empty() ? "it is not an etcd client configuration" : "cannot be read: " + file.why) +
              "; the last known data of its cluster stays in force",
          file.why.empty() ? "write the cluster's client configuration there, or remove the file" : file.fix);
    } else if (!file.why.empty()) {
      unread.insert(name);
      if (file.error != 0) {  // else it is too large to be a configuration: other files may lie here
        add_folder_problem(path, "cannot be read: " + file.why, file.fix);
      }
    } else if (is_etcd_client_config(file.text)) {
      if (is_label(name, kClusterNameLength)) {
        present.insert(name);
        follow(name, path, file.text);
      } else {
        add_folder_problem(path, "the file name is not a valid cluster name, so the file is ignored",
                           "name the file after its cluster: 1 to 32 characters of a-z, 0-9 and -");
      }
    } else {
      unread.insert(name);
    }
  }
  if (error) {
    return;  // an incomplete scan does not show that files are absent
  }
  remove_absent(present);
  unread_ = std::move(unread);
  folder_read_ = true;
  ++scans_;
}

void EtcdEngine::read_mesh_config() {
  const Result<std::string> text = read_file(options_.kvstoremesh, kMaxConfigBytes);
  if (!text || !is_etcd_client_config(*text)) {
    add_folder_problem(options_.kvstoremesh, text ? "it is not an etcd client configuration" : text.error().what,
                       "write the KVStoreMesh hub's client configuration there; the last known data stays in force");
    return;
  }
  follow(kMeshHub, options_.kvstoremesh, *text);
}

void EtcdEngine::follow(const std::string& cluster, const std::string& path, const std::string& text) {
  Hub& hub = hubs_[cluster];
  hub.missed = false;
  if (hub.connection == nullptr) {
    hub.connection = std::make_unique<HubConnection>(shared_, cluster, path,
                                                     [this](const std::string& name) { return is_excluded(name); });
    if (const auto mesh = hubs_.find(kMeshHub); cluster != kMeshHub && mesh != hubs_.end()) {
      mesh->second.connection->drop_excluded();
    }
  } else if (hub.connection->text() == text) {
    return;
  }
  hub.connection->configure(text);
}

// A mount that fails, or a Secret that was emptied by mistake, looks like this. A KVStoreMesh hub takes over at once.
bool EtcdEngine::holds_emptied(const std::set<std::string>& present) {
  const bool emptied = present.empty() && !hubs_.empty() && !hubs_.contains(kMeshHub);
  const auto now = EtcdLoop::Clock::now();
  if (!emptied || !options_.retains()) {
    emptied_since_.reset();
    return false;
  }
  if (!emptied_since_) {
    emptied_since_ = now;
    spdlog::warn("{}: every etcd configuration disappeared at once; the clusters stay for {} s", options_.folder,
                 std::chrono::duration_cast<std::chrono::seconds>(options_.hold_time).count());
  }
  if (now - *emptied_since_ >= options_.hold_time) {
    return false;
  }
  add_folder_problem(options_.folder,
                     "the folder has no etcd configuration any more; its clusters are followed as before for a while",
                     "see that it is mounted; otherwise their data is removed after hub.etcd.hold_time");
  return true;
}

void EtcdEngine::remove_absent(const std::set<std::string>& present) {
  if (holds_emptied(present)) {
    return;
  }
  for (auto it = hubs_.begin(); it != hubs_.end();) {
    Hub& hub = it->second;
    if (it->first == kMeshHub || present.contains(it->first) || !std::exchange(hub.missed, true)) {
      ++it;
      continue;
    }
    spdlog::warn("cluster {}: its etcd configuration was removed, so its data is removed", it->first);
    hub.connection->purge();
    it = hubs_.erase(it);
    if (const auto mesh = hubs_.find(kMeshHub); mesh != hubs_.end()) {
      const std::string text = mesh->second.connection->text();
      mesh->second.connection->configure(text);  // follows the cluster from now on, if the hub has it
    }
  }
}

bool EtcdEngine::is_excluded(const std::string& cluster) const {
  return cluster == options_.own_cluster || hubs_.contains(cluster);
}

void EtcdEngine::publish_changes() {
  const auto before = EtcdLoop::Clock::now();
  outbox_.put(out_);
  const auto now = EtcdLoop::Clock::now();
  if (now - before > kLongWait) {
    for (auto& [name, hub] : hubs_) {
      hub.connection->extend_heartbeat_deadline(now - before);
    }
  }
  if (!complete_) {
    if (all_synced() || now - started_ > options_.sync_timeout) {
      complete_ = true;
      publish_view();
      outbox_.set_complete();
    }
  }
  if (now - viewed_ > kViewPeriod) {
    publish_view();
  }
}

bool EtcdEngine::all_synced() const {
  const bool mesh_known = options_.kvstoremesh.empty() || hubs_.contains(kMeshHub);
  return (options_.folder.empty() || folder_read_) && mesh_known &&
         std::all_of(hubs_.begin(), hubs_.end(),
                     [](const auto& entry) { return entry.second.connection->all_synced(); });
}

// As remove_absent() has it: not after one scan, and not of a folder that is empty and may not be mounted. Which
// clusters a KVStoreMesh hub has, it says itself.
std::optional<std::set<std::string>> EtcdEngine::configured() const {
  const bool may_be_emptied =
      hubs_.empty() && options_.retains() && EtcdLoop::Clock::now() - started_ < options_.hold_time;
  if (options_.folder.empty() || !options_.kvstoremesh.empty() || scans_ < 2 || may_be_emptied) {
    return std::nullopt;
  }
  std::set<std::string> clusters = unread_;
  for (const auto& [name, hub] : hubs_) {
    clusters.insert(name);
  }
  return clusters;
}

void EtcdEngine::publish_view() {
  viewed_ = EtcdLoop::Clock::now();
  std::vector<HubState> states;
  std::vector<SourceProblem> problems = folder_problems_;
  for (const auto& [name, hub] : hubs_) {
    hub.connection->append_states(states);
    hub.connection->append_problems(problems);
  }
  std::set<std::string> listed;
  for (const HubState& state : states) {
    if (state.listed) {
      listed.insert(state.name);
    }
  }
  // A folder without any configuration may be a mount that failed: it does not say that there are no clusters.
  outbox_.set_listed({std::move(listed), configured(), !hubs_.empty() && all_synced()});
  std::vector<SourceProblem> more = registry_.problems();
  problems.insert(problems.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  outbox_.set_view(std::move(states), std::move(problems));
}

}  // namespace isthmus
