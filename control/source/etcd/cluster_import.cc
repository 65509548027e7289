#include "control/source/etcd/cluster_import.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "config/yaml/read.h"
#include "control/source/etcd/prefixes.h"

namespace isthmus {
namespace {

constexpr std::size_t kMostBadKept = 100, kMostBadShown = 10, kFewestHeld = 10;

// Keys are as the hub has them, whatever bytes those are.
std::string readable(std::string_view tail) {
  std::string text = shown(tail);
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

Provenance ClusterImport::provenance(EtcdResource resource, std::string_view tail) const {
  std::string text = "cluster " + context_.cluster + ": " + to_text(resource) + "/";
  text += tail;
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
  count(prefix.good, KeyTable::kGood);
  count(prefix.bad, KeyTable::kBad);
  count(prefix.held, KeyTable::kHeld);
  prefix.keys.set_flags(ref, flags);
}

void ClusterImport::list_begins(EtcdResource resource) {
  Prefixed& prefix = of(resource);
  prefix.good_before_list = prefix.good;
  prefix.keys.each([&](KeyTable::Ref ref) {
    const unsigned flags = prefix.keys.flags(ref);
    const unsigned stale = (flags & KeyTable::kGood) != 0 ? KeyTable::kStale : 0U;
    prefix.keys.set_flags(ref, flags | KeyTable::kUnseen | stale);
  });
}

void ClusterImport::put(EtcdResource resource, std::string_view tail, std::string_view value) {
  ++events_;
  if (tail.size() > KeyTable::kLongestKey) {
    ++rejected_;
    return;
  }
  Prefixed& prefix = of(resource);
  const KeyTable::Ref ref = prefix.keys.find_or_add(tail);
  const unsigned before = prefix.keys.flags(ref);
  const std::uint64_t hash = hash_of_value(value);
  const bool same = before != 0 && prefix.keys.value_hash(ref) == hash;
  if (same && (before & KeyTable::kBad) == 0) {
    set_flag(prefix, ref, KeyTable::kGood);
    return;
  }
  prefix.keys.set_value_hash(ref, hash);
  const Status status = apply(resource, tail, value);
  if (status) {
    if ((before & KeyTable::kBad) != 0) {
      forget_bad(resource, tail);
    }
    set_flag(prefix, ref, KeyTable::kGood);
    return;
  }
  // What was in force stays so, but a list does not confirm it.
  set_flag(prefix, ref, (before & ~KeyTable::kUnseen) | KeyTable::kBad);
  refuse(resource, tail, status.error(), (before & KeyTable::kBad) != 0);
}

void ClusterImport::refuse(EtcdResource resource, std::string_view tail, const Error& error, bool again) {
  ++rejected_;
  if (bad_.size() < kMostBadKept || again) {
    const auto [entry, fresh] = bad_.insert_or_assign({resource, std::string(tail)}, error);
    if (fresh && !again) {
      spdlog::warn("cluster {}: {}/{} is refused: {}", context_.cluster, to_text(resource), readable(tail), error.what);
    }
  } else if (!again && of(resource).bad == kMostBadKept + 1) {
    spdlog::warn("cluster {}: more than {} values of {} are refused; further ones are only counted", context_.cluster,
                 kMostBadKept, to_text(resource));
  }
}

void ClusterImport::forget_bad(EtcdResource resource, std::string_view tail) {
  bad_.erase({resource, std::string(tail)});
}

void ClusterImport::gone(EtcdResource resource, std::string_view tail) {
  ++events_;
  Prefixed& prefix = of(resource);
  const KeyTable::Ref ref = prefix.keys.find(tail);
  if (ref == KeyTable::kNone) {
    return;
  }
  const unsigned flags = prefix.keys.flags(ref);
  if ((flags & KeyTable::kBad) != 0) {
    forget_bad(resource, tail);
  }
  set_flag(prefix, ref, 0);
  prefix.keys.erase(ref);
  if ((flags & KeyTable::kGood) != 0) {
    remove_object(resource, tail);
  }
}

void ClusterImport::list_ends(EtcdResource resource, Clock::time_point now) {
  Prefixed& prefix = of(resource);
  prefix.listed = true;
  std::vector<std::string> missing, vanished;
  prefix.keys.each([&](KeyTable::Ref ref) {
    const unsigned flags = prefix.keys.flags(ref);
    if ((flags & KeyTable::kStale) != 0) {
      missing.emplace_back(prefix.keys.key(ref));
    } else if ((flags & KeyTable::kUnseen) != 0) {
      vanished.emplace_back(prefix.keys.key(ref));
    }
  });
  take_away(resource, vanished);
  if (believe(prefix, missing.size())) {
    take_away(resource, missing);
  } else {
    hold(resource, missing, now);
  }
  if (resource == EtcdResource::kNodes) {
    publish_cluster();
  }
}

bool ClusterImport::believe(const Prefixed& prefix, std::size_t missing) const {
  return !options_.holds() || missing < kFewestHeld ||
         missing * 100 <= std::uint64_t{options_.hold_percent} * prefix.good_before_list;
}

void ClusterImport::take_away(EtcdResource resource, const std::vector<std::string>& tails) {
  Prefixed& prefix = of(resource);
  for (const std::string& tail : tails) {
    const KeyTable::Ref ref = prefix.keys.find(tail);
    const unsigned flags = prefix.keys.flags(ref);
    if ((flags & KeyTable::kUnseen) != 0) {
      if ((flags & KeyTable::kBad) != 0) {
        forget_bad(resource, tail);
      }
      set_flag(prefix, ref, 0);
      prefix.keys.erase(ref);
    } else {
      set_flag(prefix, ref, KeyTable::kBad);  // it is in the hub, and no good
    }
    if ((flags & KeyTable::kGood) != 0) {
      remove_object(resource, tail);
    }
  }
}

// The time runs from the first list that lacked them, however often they are listed again.
void ClusterImport::hold(EtcdResource resource, const std::vector<std::string>& tails, Clock::time_point now) {
  Prefixed& prefix = of(resource);
  if (prefix.held == 0) {
    prefix.held_until = now + options_.hold_time;
    spdlog::warn("cluster {}: {} of {} {} are gone from the hub at once; they stay in force for {} s", context_.cluster,
                 tails.size(), prefix.good_before_list, to_text(resource),
                 std::chrono::duration_cast<std::chrono::seconds>(options_.hold_time).count());
  }
  for (const std::string& tail : tails) {
    const KeyTable::Ref ref = prefix.keys.find(tail);
    set_flag(prefix, ref, (prefix.keys.flags(ref) & ~KeyTable::kStale) | KeyTable::kHeld);
  }
}

void ClusterImport::drop_held(EtcdResource resource) {
  Prefixed& prefix = of(resource);
  std::vector<std::string> tails;
  prefix.keys.each([&](KeyTable::Ref ref) {
    if ((prefix.keys.flags(ref) & KeyTable::kHeld) != 0) {
      tails.emplace_back(prefix.keys.key(ref));
    }
  });
  spdlog::warn("cluster {}: {} {} that the hub no longer has are let go", context_.cluster, tails.size(),
               to_text(resource));
  take_away(resource, tails);
}

void ClusterImport::drain(EtcdResource resource) {
  Prefixed& prefix = of(resource);
  std::vector<std::string> tails;
  prefix.keys.each([&](KeyTable::Ref ref) {
    if ((prefix.keys.flags(ref) & KeyTable::kGood) != 0) {
      tails.emplace_back(prefix.keys.key(ref));
    }
  });
  for (const std::string& tail : tails) {
    remove_object(resource, tail);
  }
  prefix = Prefixed{};
  std::erase_if(bad_, [&](const auto& entry) { return entry.first.first == resource; });
}

void ClusterImport::drain_all() {
  registry_.set_member(context_.cluster, false);
  for (auto it = kAllEtcdResources.rbegin(); it != kAllEtcdResources.rend(); ++it) {
    drain(*it);
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
  for (const auto& [name, node] : nodes_) {
    // Not the nodes' own addresses: they are of the underlay, which carries the tunnels and the hubs.
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
    counts.objects += prefix.good;
    counts.held += prefix.held;
    counts.key_memory += prefix.keys.memory();
  }
  return counts;
}

std::vector<std::string> ClusterImport::bad() const {
  std::vector<std::string> keys;
  for (const auto& [key, error] : bad_) {
    if (keys.size() < kMostBadShown) {
      keys.push_back(std::string(to_text(key.first)) + "/" + readable(key.second));
    }
  }
  return keys;
}

std::vector<SourceProblem> ClusterImport::problems(EtcdLayout layout, const std::string& hub) const {
  std::vector<SourceProblem> problems = services_.problems();
  const bool clean = std::all_of(prefixes_.begin(), prefixes_.end(),
                                 [](const Prefixed& prefix) { return prefix.bad == 0 && prefix.held == 0; });
  if (clean) {
    return problems;
  }
  const std::string at = " (cluster " + context_.cluster + (hub.empty() ? "" : ", " + hub) + ")";
  std::size_t listed = 0, all = 0;
  for (const auto& [key, error] : bad_) {
    if (++listed <= kMostBadShown) {
      problems.push_back({{key_prefix(key.first, layout, context_.cluster) + readable(key.second) + at, 0},
                          "the value is refused: " + error.what,
                          error.remedy});
    }
  }
  for (const EtcdResource resource : kAllEtcdResources) {
    const Prefixed& prefix = of(resource);
    all += prefix.bad;
    if (prefix.held > 0) {
      problems.push_back(
          {{key_prefix(resource, layout, context_.cluster) + at, 0},
           std::to_string(prefix.held) + " objects disappeared at once after a reconnect and are held in force",
           "if they should be there, mend the cluster's clustermesh-apiserver; if they are really gone, "
           "they are let go by themselves after the hold time, or when this gateway is restarted"});
    }
  }
  if (all > kMostBadShown) {
    problems.push_back({{"cluster " + context_.cluster, 0},
                        std::to_string(all) + " values are refused in all; the first ten are listed",
                        "see the log for more of them"});
  }
  return problems;
}

}  // namespace isthmus
