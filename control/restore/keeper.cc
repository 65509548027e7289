#include "control/restore/keeper.h"

#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <csignal>
#include <utility>

namespace isthmus {
namespace {

constexpr auto kWriteInterval = std::chrono::seconds(1);
constexpr std::size_t kBatch = 4096;  // pairs that are written at once
constexpr int kNice = 10;

bool take(std::string_view key_bytes, std::string_view value, KeptState& kept) {
  auto key = decode_key(key_bytes);
  if (!key) {
    return false;
  }
  if (auto* object = std::get_if<KeptObject>(&*key)) {
    auto version = decode_version(value, object->key.kind);
    if (version) {
      kept.objects.emplace_back(std::move(*object), std::move(*version));
    }
    return version.has_value();
  }
  if (auto* seen = std::get_if<KeptSeen>(&*key)) {
    const auto time = decode_time(value);
    if (time) {
      kept.seen[{seen->hub, seen->name}] = *time;
    }
    return time.has_value();
  }
  if (auto* cluster = std::get_if<KeptCluster>(&*key)) {
    auto claims = decode_claims(value);
    if (claims) {
      kept.clusters[cluster->name] = std::move(*claims);
    }
    return claims.has_value();
  }
  auto holder = decode_holder(value);
  if (holder) {
    kept.vips[std::get<KeptVip>(*key).address] = std::move(*holder);
  }
  return holder.has_value();
}

}  // namespace

Result<std::unique_ptr<Keeper>> Keeper::open(const std::string& directory, const std::string& name, KeptState& kept) {
  auto store = Store::open(directory, name, kKeptFormat);
  if (!store) {
    return store.error();
  }
  if (!(*store)->visit([&](std::string_view key, std::string_view value) { return take(key, value, kept); })) {
    kept = {};
  }
  std::unique_ptr<Keeper> keeper(new Keeper(std::move(*store)));
  if (!keeper->store_->reason().empty()) {
    keeper->start_problem_ = Error{"what was known before the restart is not used: " + keeper->store_->reason(),
                                   keeper->store_->path(), "nothing: it is kept anew from now on"};
    spdlog::warn("{}", keeper->start_problem_->text());
  }
  keeper->start();
  return keeper;
}

Keeper::Keeper(std::unique_ptr<Store> store) : store_(std::move(store)) {}

Keeper::~Keeper() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  thread_.join();
}

void Keeper::start() {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), "ist-keeper");
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Keeper::objects(const std::string& hub, std::vector<ObjectDelta> deltas) {
  if (deltas.empty()) {
    return;
  }
  const std::lock_guard lock(mutex_);
  if (overrun_) {
    return;
  }
  waiting_ += deltas.size();
  if (waiting_ > kMaxWaiting) {
    overrun_ = true;
    batches_.clear();
  } else {
    batches_.push_back({hub, std::move(deltas)});
  }
  work_.notify_one();
}

void Keeper::change(std::string key, std::optional<std::string> value) {
  const std::lock_guard lock(mutex_);
  facts_.insert_or_assign(std::move(key), std::move(value));
  work_.notify_one();
}

void Keeper::seen(const std::string& hub, const std::string& name, const KeptTime& time) {
  change(encode_key(KeptSeen{hub, name}), encode_time(time));
}

void Keeper::claims(const std::string& cluster, const std::optional<KeptClaims>& claims) {
  change(encode_key(KeptCluster{cluster}), claims ? std::optional(encode_claims(*claims)) : std::nullopt);
}

void Keeper::holder(const IpAddress& vip, const std::optional<KeptHolder>& holder) {
  change(encode_key(KeptVip{vip}), holder ? std::optional(encode_holder(*holder)) : std::nullopt);
}

std::optional<Error> Keeper::problem() const {
  const std::lock_guard lock(mutex_);
  return write_problem_ ? write_problem_ : start_problem_;
}

void Keeper::run() {
  // The packets and the control thread come first.
  setpriority(PRIO_PROCESS, 0, kNice);  // of this thread alone, on Linux
  bool go_on = true;
  while (go_on) {
    go_on = wait();
    std::vector<Batch> batches;
    std::map<std::string, std::optional<std::string>> facts;
    bool overrun = false;
    {
      const std::lock_guard lock(mutex_);
      batches.swap(batches_);
      facts.swap(facts_);
      overrun = overrun_;
    }
    if (overrun) {
      const std::string why = "the disk is too slow for the changes of the hubs";
      store_->clear(why);
      const std::lock_guard lock(mutex_);
      write_problem_ = Error{"the last known state is no longer kept: " + why, store_->path(),
                             "use a faster disk (state.last_known_directory), then restart the gateway"};
      return;
    }
    encode(std::move(batches), std::move(facts));
    write();
  }
}

bool Keeper::wait() {
  std::unique_lock lock(mutex_);
  const auto busy = [&] { return stopping_ || overrun_ || !batches_.empty() || !facts_.empty(); };
  if (pending_.empty()) {
    work_.wait(lock, busy);
  }
  // Collects what follows the first change, or waits before it tries again.
  work_.wait_for(lock, kWriteInterval, [&] { return stopping_ || overrun_; });
  return !stopping_;
}

void Keeper::encode(std::vector<Batch> batches, std::map<std::string, std::optional<std::string>> facts) {
  for (Batch& batch : batches) {
    for (ObjectDelta& delta : batch.deltas) {
      auto value = delta.value ? std::optional(encode_version(*delta.value, delta.provenance)) : std::nullopt;
      pending_.insert_or_assign(encode_key(KeptObject{batch.hub, std::move(delta.key)}), std::move(value));
    }
    batch = {};
  }
  pending_.merge(facts);  // those that a write before could not write are older
  for (auto& [key, value] : facts) {
    pending_.insert_or_assign(key, std::move(value));
  }
}

void Keeper::write() {
  Status status = Ok{};
  while (!pending_.empty() && status) {
    std::vector<Store::Change> changes;
    auto end = pending_.begin();
    for (; end != pending_.end() && changes.size() < kBatch; ++end) {
      changes.emplace_back(end->first, end->second);
    }
    status = store_->write(changes);
    if (status) {
      pending_.erase(pending_.begin(), end);
    }
  }
  const std::lock_guard lock(mutex_);
  write_problem_ = status ? std::optional<Error>() : status.error();
  waiting_ = pending_.size();
  for (const Batch& batch : batches_) {
    waiting_ += batch.deltas.size();
  }
}

}  // namespace isthmus
