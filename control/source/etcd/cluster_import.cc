#include "control/source/etcd/cluster_import.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "config/yaml/read.h"
#include "control/source/etcd/prefixes.h"
#include "control/source/etcd/problem.h"

namespace isthmus {
namespace {

// While more than one in so many leaves, more may follow; so long at most.
constexpr std::size_t kGrowingShare = 20;
constexpr std::chrono::seconds kMaxWait{2};
constexpr std::size_t kMaxInvalidKept = 100, kMaxInvalidShown = 10, kMinRetained = 10;

// Keys may hold arbitrary bytes; escapes those that are not printable.
std::string readable(std::string_view suffix) {
  std::string text = shown(suffix);
  return text.size() >= 2 ? text.substr(1, text.size() - 2) : text;
}

}  // namespace

ClusterImport::ClusterImport(const EtcdSourceOptions& options, EtcdValueContext context, FleetRegistry& registry,
                             std::vector<ObjectDelta>& out)
    : options_(options),
      context_(std::move(context)),
      registry_(registry),
      out_(out),
      services_(context_.cluster, out) {}

Provenance ClusterImport::provenance(EtcdResource resource, std::string_view suffix) const {
  std::string text = "cluster " + context_.cluster + ": " + to_text(resource) + "/";
  text += suffix;
  return {std::move(text), 0};
}

void ClusterImport::emit(ObjectKind kind, std::string_view name, std::optional<ObjectValue> value,
                         EtcdResource resource) {
  out_.push_back({{kind, context_.cluster, {}, std::string(name)}, std::move(value), provenance(resource, name)});
}

void ClusterImport::set_flag(Prefixed& prefix, KeyTable::Ref ref, unsigned flags) {
  const unsigned before = prefix.keys.flags(ref);
  const auto count = [&](std::uint64_t& counter, unsigned flag) {
    counter += (flags & flag) != 0 ? 1U : 0U;
    counter -= (before & flag) != 0 ? 1U : 0U;
  };
  count(prefix.in_force, KeyTable::kInForce);
  count(prefix.invalid, KeyTable::kInvalid);
  count(prefix.retained, KeyTable::kRetained);
  prefix.keys.set_flags(ref, flags);
}

void ClusterImport::list_begins(EtcdResource resource) {
  Prefixed& prefix = of(resource);
  prefix.leaving.clear();  // the list decides
  prefix.in_force_before_list = prefix.in_force;
  prefix.keys.each([&](KeyTable::Ref ref) {
    const unsigned flags = prefix.keys.flags(ref);
    const unsigned stale = (flags & KeyTable::kInForce) != 0 ? KeyTable::kStale : 0U;
    prefix.keys.set_flags(ref, flags | KeyTable::kUnseen | stale);
  });
}

void ClusterImport::put(EtcdResource resource, std::string_view suffix, std::string_view value) {
  ++events_;
  if (suffix.size() > KeyTable::kMaxKeyLength) {
    ++rejected_;
    return;
  }
  Prefixed& prefix = of(resource);
  const KeyTable::Ref ref = prefix.keys.find_or_add(suffix);
  const unsigned before = prefix.keys.flags(ref);
  const std::uint64_t hash = hash_of_value(value);
  const bool same = before != 0 && prefix.keys.value_hash(ref) == hash;
  if (same && (before & KeyTable::kInvalid) == 0) {
    set_flag(prefix, ref, KeyTable::kInForce);
    return;
  }
  prefix.keys.set_value_hash(ref, hash);
  const Status status = apply(resource, suffix, value);
  if (status) {
    if ((before & KeyTable::kInvalid) != 0) {
      forget_invalid(resource, suffix);
    }
    set_flag(prefix, ref, KeyTable::kInForce);
    return;
  }
  // The former value stays in force, but the list does not confirm it: kStale stays set.
  set_flag(prefix, ref, (before & ~KeyTable::kUnseen) | KeyTable::kInvalid);
  reject(resource, suffix, status.error(), (before & KeyTable::kInvalid) != 0);
}

void ClusterImport::reject(EtcdResource resource, std::string_view suffix, const Error& error, bool again) {
  ++rejected_;
  if (invalid_.size() < kMaxInvalidKept || again) {
    const auto [entry, fresh] = invalid_.insert_or_assign({resource, std::string(suffix)}, error);
    if (fresh && !again) {
      spdlog::warn("cluster {}: {}/{} is rejected: {}", context_.cluster, to_text(resource), readable(suffix),
                   error.what);
    }
  } else if (!again && of(resource).invalid == kMaxInvalidKept + 1) {
    spdlog::warn("cluster {}: more than {} values of {} are rejected; further ones are only counted", context_.cluster,
                 kMaxInvalidKept, to_text(resource));
  }
}

void ClusterImport::forget_invalid(EtcdResource resource, std::string_view suffix) {
  invalid_.erase({resource, std::string(suffix)});
}

void ClusterImport::removed(EtcdResource resource, std::string_view suffix) {
  ++events_;
  Prefixed& prefix = of(resource);
  const KeyTable::Ref ref = prefix.keys.find(suffix);
  if (ref == KeyTable::kNone) {
    return;
  }
  const unsigned flags = prefix.keys.flags(ref);
  if ((flags & KeyTable::kInvalid) != 0) {
    forget_invalid(resource, suffix);
  }
  set_flag(prefix, ref, 0);
  prefix.keys.erase(ref);
  if ((flags & KeyTable::kInForce) != 0) {
    remove_object(resource, suffix);
  }
}

void ClusterImport::leaves(EtcdResource resource, std::string_view suffix, Clock::time_point now) {
  Prefixed& prefix = of(resource);
  const KeyTable::Ref ref = prefix.keys.find(suffix);
  if (ref == KeyTable::kNone || (prefix.keys.flags(ref) & KeyTable::kInForce) == 0 || !options_.retains()) {
    removed(resource, suffix);
    return;
  }
  ++events_;
  if (!std::exchange(removals_wait_, true)) {
    leaving_since_ = now;
  }
  set_flag(prefix, ref, prefix.keys.flags(ref) | KeyTable::kUnseen);  // a later put() makes it one that is in force
  prefix.leaving.emplace_back(suffix);
}

void ClusterImport::settle_removals(Clock::time_point now) {
  bool loss = false, growing = false;
  for (const EtcdResource resource : kAllEtcdResources) {
    Prefixed& prefix = of(resource);
    std::sort(prefix.leaving.begin(), prefix.leaving.end());
    prefix.leaving.erase(std::unique(prefix.leaving.begin(), prefix.leaving.end()), prefix.leaving.end());
    std::erase_if(prefix.leaving, [&](const std::string& suffix) {
      const KeyTable::Ref ref = prefix.keys.find(suffix);
      const unsigned both = KeyTable::kInForce | KeyTable::kUnseen;
      return ref == KeyTable::kNone || (prefix.keys.flags(ref) & both) != both;
    });
    const std::size_t count = prefix.leaving.size();
    loss = loss || !accepts_loss(resource, count, prefix.in_force - prefix.retained);
    growing = growing || (count >= kMinRetained && count * kGrowingShare > prefix.in_force);
  }
  if (!loss && growing && now - leaving_since_ < kMaxWait) {
    return;
  }
  removals_wait_ = false;
  for (const EtcdResource resource : kAllEtcdResources) {
    const std::vector<std::string> leaving = std::exchange(of(resource).leaving, {});
    if (!loss) {
      remove(resource, leaving);
    } else if (!leaving.empty()) {
      retain(resource, leaving, of(resource).in_force, now);
    }
  }
}

void ClusterImport::list_ends(EtcdResource resource, Clock::time_point now) {
  Prefixed& prefix = of(resource);
  prefix.listed = true;
  std::vector<std::string> missing, missing_invalid;
  prefix.keys.each([&](KeyTable::Ref ref) {
    const unsigned flags = prefix.keys.flags(ref);
    if ((flags & KeyTable::kStale) != 0) {
      missing.emplace_back(prefix.keys.key(ref));
    } else if ((flags & KeyTable::kUnseen) != 0) {
      missing_invalid.emplace_back(prefix.keys.key(ref));
    }
  });
  remove(resource, missing_invalid);
  if (accepts_loss(resource, missing.size(), prefix.in_force_before_list)) {
    remove(resource, missing);
  } else {
    retain(resource, missing, prefix.in_force_before_list, now);
  }
  if (resource == EtcdResource::kNodes) {
    publish_cluster();
  }
}

// A cluster without any node has no prefixes, so that all that is retained of it would be of no use.
bool ClusterImport::accepts_loss(EtcdResource resource, std::size_t missing, std::uint64_t before) const {
  const bool all_nodes = resource == EtcdResource::kNodes && missing != 0 && missing == before;
  return !options_.retains() ||
         (!all_nodes && (missing < kMinRetained || missing * 100 <= std::uint64_t{options_.hold_percent} * before));
}

void ClusterImport::remove(EtcdResource resource, const std::vector<std::string>& suffixes) {
  Prefixed& prefix = of(resource);
  for (const std::string& suffix : suffixes) {
    const KeyTable::Ref ref = prefix.keys.find(suffix);
    const unsigned flags = prefix.keys.flags(ref);
    if ((flags & KeyTable::kUnseen) != 0) {
      if ((flags & KeyTable::kInvalid) != 0) {
        forget_invalid(resource, suffix);
      }
      set_flag(prefix, ref, 0);
      prefix.keys.erase(ref);
    } else {
      set_flag(prefix, ref, KeyTable::kInvalid);  // the key exists, with an invalid value
    }
    if ((flags & KeyTable::kInForce) != 0) {
      remove_object(resource, suffix);
    }
  }
}

// The hold time starts with the first list that lacks objects; later lists do not extend it.
void ClusterImport::retain(EtcdResource resource, const std::vector<std::string>& suffixes, std::uint64_t before,
                           Clock::time_point now) {
  Prefixed& prefix = of(resource);
  if (prefix.retained == 0) {
    prefix.retained_until = now + options_.hold_time;
    spdlog::warn("cluster {}: {} of {} {} disappeared from the hub at once; they are retained for {} s",
                 context_.cluster, suffixes.size(), before, to_text(resource),
                 std::chrono::duration_cast<std::chrono::seconds>(options_.hold_time).count());
  }
  for (const std::string& suffix : suffixes) {
    const KeyTable::Ref ref = prefix.keys.find(suffix);
    set_flag(prefix, ref, (prefix.keys.flags(ref) & ~KeyTable::kStale) | KeyTable::kRetained);
  }
}

void ClusterImport::release_retained(EtcdResource resource) {
  Prefixed& prefix = of(resource);
  std::vector<std::string> suffixes;
  prefix.keys.each([&](KeyTable::Ref ref) {
    if ((prefix.keys.flags(ref) & KeyTable::kRetained) != 0) {
      suffixes.emplace_back(prefix.keys.key(ref));
    }
  });
  spdlog::warn("cluster {}: {} retained {} are still missing from the hub and are removed", context_.cluster,
               suffixes.size(), to_text(resource));
  remove(resource, suffixes);
}

void ClusterImport::purge(EtcdResource resource) {
  Prefixed& prefix = of(resource);
  std::vector<std::string> suffixes;
  prefix.keys.each([&](KeyTable::Ref ref) {
    if ((prefix.keys.flags(ref) & KeyTable::kInForce) != 0) {
      suffixes.emplace_back(prefix.keys.key(ref));
    }
  });
  for (const std::string& suffix : suffixes) {
    remove_object(resource, suffix);
  }
  prefix = Prefixed{};
  std::erase_if(invalid_, [&](const auto& entry) { return entry.first.first == resource; });
}

void ClusterImport::purge_all() {
  registry_.set_member(context_.cluster, false);
  for (auto it = kAllEtcdResources.rbegin(); it != kAllEtcdResources.rend(); ++it) {
    purge(*it);
  }
  if (std::exchange(published_, false)) {
    out_.push_back(
        {{ObjectKind::kCluster, {}, {}, context_.cluster}, std::nullopt, {"cluster " + context_.cluster, 0}});
  }
}

void ClusterImport::publish_cluster() {
  if (!cluster_changed()) {
    return;
  }
  cluster_dirty_ = false;
  ClusterObject cluster{context_.id, {}, {}};
  cluster.encapsulation = options_.encapsulation;
  for (const auto& [name, node] : nodes_) {
    // Without the nodes' own addresses, which belong to the underlay that carries the tunnels and the hubs.
    cluster.pod_prefixes.insert(cluster.pod_prefixes.end(), node.pod_prefixes.begin(), node.pod_prefixes.end());
  }
  cluster.pod_prefixes = merge_prefixes(std::move(cluster.pod_prefixes));
  if (published_ && cluster == cluster_) {
    return;
  }
  cluster_ = cluster;
  ObjectDelta delta;
  delta.key.kind = ObjectKind::kCluster;
  delta.key.name = context_.cluster;
  delta.value = std::move(cluster);
  delta.provenance = {"cluster " + context_.cluster, 0};
  out_.push_back(std::move(delta));
  if (!std::exchange(published_, true)) {
    registry_.set_member(context_.cluster, true);
  }
}

ClusterImport::Counts ClusterImport::counts() const {
  Counts counts{0, events_, rejected_, 0, 0};
  for (const Prefixed& prefix : prefixes_) {
    counts.objects += prefix.in_force;
    counts.retained += prefix.retained;
    counts.key_memory += prefix.keys.memory();
  }
  return counts;
}

std::vector<std::string> ClusterImport::invalid_keys() const {
  std::vector<std::string> keys;
  for (const auto& [key, error] : invalid_) {
    if (keys.size() < kMaxInvalidShown) {
      keys.push_back(std::string(to_text(key.first)) + "/" + readable(key.second));
    }
  }
  return keys;
}

std::vector<SourceProblem> ClusterImport::problems(EtcdLayout layout, const std::string& hub) const {
  std::vector<SourceProblem> problems = services_.problems();
  const bool clean = std::all_of(prefixes_.begin(), prefixes_.end(),
                                 [](const Prefixed& prefix) { return prefix.invalid == 0 && prefix.retained == 0; });
  if (clean) {
    return problems;
  }
  const std::string at = " (cluster " + context_.cluster + (hub.empty() ? "" : ", " + hub) + ")";
  std::size_t listed = 0, all = 0;
  for (const auto& [key, error] : invalid_) {
    if (++listed <= kMaxInvalidShown) {
      problems.push_back(problem_at(key_prefix(key.first, layout, context_.cluster) + readable(key.second) + at,
                                    "the value is rejected: " + error.what, error.fix));
    }
  }
  for (const EtcdResource resource : kAllEtcdResources) {
    const Prefixed& prefix = of(resource);
    all += prefix.invalid;
    if (prefix.retained > 0) {
      problems.push_back(
          problem_at(key_prefix(resource, layout, context_.cluster) + at,
                     std::to_string(prefix.retained) + " objects disappeared at once and are retained",
                     "if they should exist, fix the cluster's clustermesh-apiserver; otherwise they are removed after "
                     "hub.etcd.hold_time, or when this gateway restarts"));
    }
  }
  if (all > kMaxInvalidShown) {
    problems.push_back(problem_at("cluster " + context_.cluster,
                                  std::to_string(all) + " values are rejected in total; the first " +
                                      std::to_string(kMaxInvalidShown) + " are listed",
                                  "see the log for others"));
  }
  return problems;
}

}  // namespace isthmus
