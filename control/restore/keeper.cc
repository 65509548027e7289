#include "control/restore/keeper.h"

#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <set>
#include <utility>

#include "control/restore/object_size.h"

namespace isthmus {
namespace {

constexpr auto kWriteInterval = std::chrono::seconds(1);
constexpr std::size_t kBatch = 4096;  // pairs that are written at once
constexpr int kNice = 10;
constexpr std::chrono::seconds kMaxPause{600};

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
  if (auto* part = std::get_if<KeptPart>(&*key)) {
    const auto until = decode_time(value);
    if (until) {
      kept.holds[std::move(*part)] = *until;
    }
    return until.has_value();
  }
  if (auto* cluster = std::get_if<KeptCluster>(&*key)) {
    auto claims = decode_claims(value);
    if (claims) {
      kept.clusters[cluster->name] = std::move(*claims);
    }
    return claims.has_value();
  }
  if (auto* owner = std::get_if<KeptOwner>(&*key)) {
    auto identity = decode_identity(value);
    if (identity) {
      kept.owners[owner->hub] = std::move(identity->text);
    }
    return identity.has_value();
  }
  auto holder = decode_holder(value);
  if (holder) {
    kept.vips[std::get<KeptVip>(*key).address] = std::move(*holder);
  }
  return holder.has_value();
}

// What `owners` says of the hub does not contradict what was kept of it.
bool is_same(const KeptState& kept, const std::string& hub, const std::optional<std::string>& now) {
  const auto before = kept.owners.find(hub);
  return before != kept.owners.end() && (!now || *now == before->second);
}

std::string was(const KeptState& kept, const std::string& hub) {
  const auto before = kept.owners.find(hub);
  return before == kept.owners.end() ? "something that is not known" : before->second;
}

// Who had what in another fleet has no claim in this one: of `all`, or of the clusters and services of which no hub
// that is left has told.
void set_claims_aside(bool all, KeptState& kept, std::vector<Store::Change>& changes) {
  std::set<std::string> clusters;
  std::set<std::pair<std::string, std::string>> services;  // namespace and name
  for (const auto& [object, version] : kept.objects) {
    if (object.key.kind == ObjectKind::kCluster) {
      clusters.insert(object.key.name);
    } else if (object.key.kind == ObjectKind::kService || object.key.kind == ObjectKind::kServiceImport) {
      services.emplace(object.key.ns, object.key.name);
    }
  }
  std::erase_if(kept.clusters, [&](const auto& entry) {
    const bool gone = all || !clusters.contains(entry.first);
    if (gone) {
      changes.emplace_back(encode_key(KeptCluster{entry.first}), std::nullopt);
    }
    return gone;
  });
  std::erase_if(kept.vips, [&](const auto& entry) {
    const bool gone = all || !services.contains({entry.second.ns, entry.second.name});
    if (gone) {
      changes.emplace_back(encode_key(KeptVip{entry.first}), std::nullopt);
    }
    return gone;
  });
}

// Takes out of `kept` what hubs told that `owners` does not name, or names as another one, and appends its removal.
// Returns one sentence about each of the latter.
std::vector<std::string> set_aside(const KeptOwners& owners, KeptState& kept, std::vector<Store::Change>& changes) {
  std::set<std::string> hubs, others;
  for (const auto& [object, version] : kept.objects) {
    hubs.insert(object.hub);
  }
  for (const auto& [of, time] : kept.seen) {
    hubs.insert(of.first);
  }
  std::vector<std::string> reasons;
  for (const std::string& hub : hubs) {
    const auto now = owners.find(hub);
    if (now == owners.end()) {
      others.insert(hub);
    } else if (!is_same(kept, hub, now->second)) {
      others.insert(hub);
      reasons.push_back("hub " + hub + " was " + was(kept, hub) + ", and is " +
                        now->second.value_or("something that is not known") + " now");
    }
  }
  std::erase_if(kept.objects, [&](const auto& entry) {
    const bool other = others.contains(entry.first.hub);
    if (other) {
      changes.emplace_back(encode_key(entry.first), std::nullopt);
    }
    return other;
  });
  std::erase_if(kept.seen, [&](const auto& entry) {
    const bool other = others.contains(entry.first.first);
    if (other) {
      changes.emplace_back(encode_key(KeptSeen{entry.first.first, entry.first.second}), std::nullopt);
    }
    return other;
  });
  std::erase_if(kept.holds, [&](const auto& entry) {
    const bool other = others.contains(entry.first.hub);
    if (other) {
      changes.emplace_back(encode_key(entry.first), std::nullopt);
    }
    return other;
  });
  if (!others.empty()) {
    set_claims_aside(!reasons.empty(), kept, changes);
  }
  return reasons;
}

}  // namespace

// Before the thread is started. What is removed and who owns the rest are written together: an end between them would
// leave what one hub said as another's.
Status Keeper::take_over(const KeptOwners& owners, KeptState& kept) {
  const bool empty = kept.objects.empty() && kept.seen.empty() && kept.clusters.empty() && kept.vips.empty();
  std::vector<Store::Change> changes;
  std::vector<std::string> reasons;
  if (const auto own = owners.find(""); !empty && own != owners.end() && !is_same(kept, "", own->second)) {
    reasons.push_back("it is of " + was(kept, "") + ", and this gateway is of " + own->second.value_or("no cluster"));
    store_->clear(reasons.front());
    kept = {};
  } else {
    reasons = set_aside(owners, kept, changes);
  }
  for (const auto& [hub, now] : owners) {
    if (now && !is_same(kept, hub, now)) {
      changes.emplace_back(encode_key(KeptOwner{hub}), encode_identity({*now}));
    }
  }
  for (const auto& [hub, before] : kept.owners) {
    if (!owners.contains(hub)) {
      changes.emplace_back(encode_key(KeptOwner{hub}), std::nullopt);
    }
  }
  if (!reasons.empty()) {
    std::string all;
    for (const std::string& reason : reasons) {
      all += (all.empty() ? "" : "; ") + reason;
    }
    start_problem_ =
        Error{"what was known before the restart is set aside, since it is another's: " + all, store_->path(),
              "nothing, if the configuration was changed on purpose: what the hubs say is kept anew; until "
              "they are read, nothing of it is in force"};
    spdlog::warn("{}", start_problem_->text());
  }
  return changes.empty() ? Status(Ok{}) : store_->write(changes);
}

Result<std::unique_ptr<Keeper>> Keeper::open(const std::string& directory, const std::string& name,
                                             const KeptOwners& owners, KeptState& kept, std::size_t max_waiting) {
  auto store = Store::open(directory, name, kKeptFormat);
  if (!store) {
    return store.error();
  }
  if (!(*store)->visit([&](std::string_view key, std::string_view value) { return take(key, value, kept); })) {
    kept = {};
  }
  std::unique_ptr<Keeper> keeper(new Keeper(std::move(*store)));
  keeper->owners_ = owners;
  keeper->max_waiting_ = max_waiting;
  if (!keeper->store_->reason().empty()) {
    keeper->start_problem_ = Error{"what was known before the restart is not used: " + keeper->store_->reason(),
                                   keeper->store_->path(), "nothing: it is kept anew from now on"};
    spdlog::warn("{}", keeper->start_problem_->text());
  }
  if (auto taken = keeper->take_over(owners, kept); !taken) {
    kept = {};
    return taken.error();
  }
  keeper->start();
  return keeper;
}

Keeper::Keeper(std::unique_ptr<Store> store) : store_(std::move(store)) {}

Keeper::~Keeper() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    stop_by_ = std::chrono::steady_clock::now() + kMaxStop;
  }
  work_.notify_all();
  if (thread_.joinable()) {
    thread_.join();
  }
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
  std::size_t weight = 0;
  for (const ObjectDelta& delta : deltas) {
    weight += sizeof delta + (delta.value ? object_bytes(delta.key, *delta.value) : 0);
  }
  const std::lock_guard lock(mutex_);
  if (overrun_ || lost_) {
    return;
  }
  waiting_ += weight;
  if (waiting_ > max_waiting_) {
    overrun_ = true;
    batches_.clear();
  } else {
    batches_.push_back({hub, std::move(deltas), weight});
  }
  work_.notify_one();
}

void Keeper::all_objects(const std::string& hub, std::vector<ObjectDelta> deltas) {
  const std::lock_guard lock(mutex_);
  if (!deltas.empty() && !overrun_ && !lost_) {
    batches_.push_back({hub, std::move(deltas), 0});
    work_.notify_one();
  }
}

void Keeper::change(std::string key, std::optional<std::string> value) {
  const std::lock_guard lock(mutex_);
  if (!lost_) {
    facts_.insert_or_assign(std::move(key), std::move(value));
    work_.notify_one();
  }
}

bool Keeper::lost() const {
  const std::lock_guard lock(mutex_);
  return lost_ && std::chrono::steady_clock::now() >= anew_from_;
}

void Keeper::begin_anew() {
  {
    const std::lock_guard lock(mutex_);
    lost_ = false;
    ++beginnings_;
  }
  for (const auto& [hub, identity] : owners_) {
    if (identity) {
      change(encode_key(KeptOwner{hub}), encode_identity({*identity}));
    }
  }
}

std::uint64_t Keeper::beginnings() const {
  const std::lock_guard lock(mutex_);
  return beginnings_;
}

// In the keeper's thread. What is on the disk is not what was told.
void Keeper::lose(const std::string& why) {
  spdlog::warn("the last known state is lost, and is kept anew: {}", why);
  store_->clear(why);
  pending_.clear();
  const std::lock_guard lock(mutex_);
  batches_.clear();
  facts_.clear();
  waiting_ = 0;
  overrun_ = false;
  lost_ = true;
  anew_from_ = std::chrono::steady_clock::now() + pause_;
  pause_ = std::min(pause_ * 2, kMaxPause);
  write_problem_ = Error{"the last known state is lost, and will be kept anew: " + why, store_->path(),
                         "see to its disk, or set another state.last_known_directory"};
}

void Keeper::seen(const std::string& hub, const std::string& name, const KeptTime& time) {
  change(encode_key(KeptSeen{hub, name}), encode_time(time));
}

void Keeper::forget_seen(const std::string& hub, const std::string& name) {
  change(encode_key(KeptSeen{hub, name}), std::nullopt);
}

void Keeper::claims(const std::string& cluster, const std::optional<KeptClaims>& claims) {
  change(encode_key(KeptCluster{cluster}), claims ? std::optional(encode_claims(*claims)) : std::nullopt);
}

void Keeper::holder(const IpAddress& vip, const std::optional<KeptHolder>& holder) {
  change(encode_key(KeptVip{vip}), holder ? std::optional(encode_holder(*holder)) : std::nullopt);
}

void Keeper::hold(const KeptPart& part, const std::optional<KeptTime>& until) {
  change(encode_key(part), until ? std::optional(encode_time(*until)) : std::nullopt);
}

std::optional<Error> Keeper::problem() const {
  const std::lock_guard lock(mutex_);
  return write_problem_ ? write_problem_ : start_problem_;
}

void Keeper::release(std::function<void()> released) {
  const std::lock_guard lock(mutex_);
  release_ = true;
  on_release_ = std::move(released);
  work_.notify_one();
}

void Keeper::resume() {
  const std::lock_guard lock(mutex_);
  release_ = false;
  on_release_ = nullptr;
  work_.notify_one();
}

// In the keeper's thread. Waits while another process has it; false: it is to stop then, without a word. A release that
// follows a resume() at once is one of its own: what waited in between is written first.
bool Keeper::close_if_released() {
  std::unique_lock lock(mutex_);
  if (!release_) {
    return true;
  }
  store_->close();
  if (const auto released = std::exchange(on_release_, nullptr)) {
    released();
  }
  work_.wait(lock, [&] { return stopping_ || !release_ || on_release_ != nullptr; });
  return !release_ || on_release_ != nullptr;
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
      lose("the hubs change faster than the disk takes it");
      continue;
    }
    encode(std::move(batches), std::move(facts));
    write();
    if (!close_if_released()) {
      return;
    }
  }
}

bool Keeper::wait() {
  std::unique_lock lock(mutex_);
  const auto busy = [&] { return stopping_ || release_ || overrun_ || !batches_.empty() || !facts_.empty(); };
  if (pending_.empty()) {
    work_.wait(lock, busy);
  }
  // Collects what follows the first change, or waits before it tries again.
  work_.wait_for(lock, kWriteInterval, [&] { return stopping_ || release_ || overrun_; });
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
  const auto in_time = [&] {
    const std::lock_guard lock(mutex_);
    return !stopping_ || std::chrono::steady_clock::now() < stop_by_;
  };
  while (!pending_.empty() && status && in_time()) {
    std::vector<Store::Change> changes;
    auto end = pending_.begin();
    for (; end != pending_.end() && changes.size() < kBatch; ++end) {
      changes.emplace_back(end->first, end->second);
    }
    status = store_->write(changes);
    if (store_->emptied()) {
      lose(status.ok() ? "" : status.error().what);
      return;
    }
    if (status) {
      pending_.erase(pending_.begin(), end);
    }
  }
  std::size_t weight = 0;
  for (const auto& [key, value] : pending_) {
    weight += key.size() + (value ? value->size() : 0);
  }
  const std::lock_guard lock(mutex_);
  write_problem_ = status ? std::optional<Error>() : status.error();
  waiting_ = weight;
  for (const Batch& batch : batches_) {
    waiting_ += batch.weight;
  }
}

}  // namespace isthmus
