#include "control/source/etcd/etcd_source.h"

#include <pthread.h>
#include <sys/stat.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "control/source/etcd/engine.h"
#include "control/source/etcd/outbox.h"

namespace isthmus {

EtcdSource::EtcdSource(EtcdSourceOptions options)
    : options_(std::move(options)), outbox_(std::make_unique<EtcdOutbox>()) {}

EtcdSource::~EtcdSource() {
  if (thread_.joinable()) {
    outbox_->close();
    engine_->stop();
    thread_.join();
  }
}

Status EtcdSource::start() {
  if (options_.folder.empty() && options_.kvstoremesh.empty()) {
    return Error{"no etcd is configured", {}, "set hub.etcd.clusters or hub.etcd.kvstoremesh"};
  }
  for (const std::string& path : {options_.folder, options_.kvstoremesh}) {
    struct stat s {};
    if (!path.empty() && stat(path.c_str(), &s) != 0) {
      return Error{std::string("the etcd configuration cannot be read: ") + std::strerror(errno), path,
                   "create it, with an etcd client configuration for each remote cluster, named after the cluster"};
    }
  }
  if (outbox_->fd() < 0) {
    return Error{"no file descriptor is left", "eventfd", "raise the limit of open files (ulimit -n)"};
  }
  engine_ = std::make_unique<EtcdEngine>(options_, *outbox_);
  engine_->set_restored(restored_);
  // The thread inherits this mask: signals are handled by the daemon's main thread.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { engine_->run(); });
  pthread_setname_np(thread_.native_handle(), "ist-etcd");
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return Ok{};
}

int EtcdSource::fd() const { return outbox_->fd(); }

std::vector<ObjectDelta> EtcdSource::poll() {
  EtcdOutbox::Batch batch = outbox_->take();
  synced_ = synced_ || batch.complete;
  if (batch.listed) {
    listed_ = std::move(*batch.listed);
  }
  return std::move(batch.deltas);
}

std::vector<SourceProblem> EtcdSource::problems() const { return outbox_->problems(); }

void EtcdSource::set_restored(const RestoredMembers& members) {
  restored_ = members;
  if (engine_ != nullptr) {
    engine_->set_restored(members);
  }
}

void EtcdSource::reload() {
  if (engine_ != nullptr) {
    engine_->rescan_soon();
  }
}

bool EtcdSource::listed(ObjectKind /*kind*/, const std::string& cluster) const { return listed_.has(cluster); }

std::string EtcdSource::describe() const {
  std::uint64_t objects = 0, clusters = 0;
  for (const HubState& state : outbox_->states()) {
    const bool mesh = state.name == "kvstoremesh" && !options_.kvstoremesh.empty();
    objects += mesh ? 0 : state.objects;
    clusters += mesh ? 0 : 1;
  }
  return "etcd " + (options_.kvstoremesh.empty() ? options_.folder : options_.kvstoremesh) + ": " +
         std::to_string(objects) + " objects of " + std::to_string(clusters) + " clusters";
}

std::optional<std::string> EtcdSource::identity() const {
  std::string text = options_.folder.empty() ? "" : "configurations in " + options_.folder;
  if (!options_.kvstoremesh.empty()) {
    text += (text.empty() ? "" : " and ") + ("KVStoreMesh of " + options_.kvstoremesh);
  }
  return text;
}

std::vector<HubState> EtcdSource::states() const { return outbox_->states(); }

}  // namespace isthmus
