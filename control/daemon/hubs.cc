#include "control/daemon/hubs.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <initializer_list>
#include <iterator>
#include <utility>

#include "control/source/etcd/etcd_source.h"
#include "control/source/file/file_source.h"
#include "control/source/kubernetes/fleet_hub_source.h"
#include "control/source/kubernetes/kubernetes_source.h"

namespace isthmus {

namespace {

constexpr auto kTimesInterval = std::chrono::seconds(30);

EtcdSourceOptions etcd_options(const GatewayConfig& config) {
  EtcdSourceOptions options;
  options.own_cluster = config.cluster;
  options.own_id = ClusterId{config.cluster_id};
  options.own_gateway = config.name;
  options.folder = config.etcd.clusters.value_or("");
  options.kvstoremesh = config.etcd.kvstoremesh.value_or("");
  options.max_connected_clusters = config.etcd.max_clusters;
  options.encapsulation = config.etcd.encapsulation;
  options.prefer_slices = config.etcd.endpoints == EtcdEndpoints::kSlices;
  options.gateway_service = config.etcd.gateway_service;
  options.hold_percent = config.etcd.hold_percent;
  options.reads_per_second = config.etcd.reads_per_second;
  options.hold_time = std::chrono::milliseconds(config.etcd.hold_time_ms);
  return options;
}

ApiServerOptions api_server(const std::string& access) {
  ApiServerOptions options;
  options.kubeconfig = access == "in-cluster" ? "" : access;
  return options;
}

EtcdRegistrationOptions registration_options(const GatewayConfig& config, const OwnGateway& own) {
  EtcdRegistrationOptions options;
  options.config_file = *config.etcd.register_at;
  options.cluster = config.cluster;
  options.gateway.name = config.name;
  options.gateway.underlay = {own.underlay};
  options.gateway.underlay.insert(options.gateway.underlay.end(), own.more.begin(), own.more.end());
  options.gateway.port = own.port;
  options.gateway.encapsulations = {std::string(encapsulation_info(own.encapsulation).name)};
  options.gateway.encapsulation = own.encapsulation;
  return options;
}

}  // namespace

Status Hubs::open(const GatewayConfig& config, EventLoop& loop, Model& model, std::function<void()> on_change) {
  loop_ = &loop;
  on_change_ = std::move(on_change);
  if (config.hub_file) {
    sources_.push_back({"file", std::make_unique<FileSource>(*config.hub_file, config.cluster)});
  }
  if (config.etcd.used()) {
    sources_.push_back({"etcd", std::make_unique<EtcdSource>(etcd_options(config))});
  }
  if (config.kubernetes.cluster) {
    KubernetesSourceOptions options;
    options.cluster = config.cluster;
    options.server = api_server(*config.kubernetes.cluster);
    options.default_global_namespace = config.kubernetes.namespaces_global;
    options.imported_slices = !config.etcd.used() && !config.kubernetes.fleet;
    options.agent_config = config.policy_scope == SelectorScope::kAgents;
    sources_.push_back({"kubernetes", std::make_unique<KubernetesSource>(options)});
  }
  if (config.kubernetes.fleet) {
    FleetHubSourceOptions options;
    options.server = api_server(*config.kubernetes.fleet);
    options.own_cluster = config.kubernetes.cluster ? config.cluster : "";
    sources_.push_back({"fleet", std::make_unique<FleetHubSource>(options)});
  }
  open_keeper(config, model);
  members_ = {config.cluster};
  for (const auto& [name, claims] : holders_.incumbents().clusters) {
    members_.insert(name);
  }
  tell_restored();
  for (const auto& [hub, source, restored, reported] : sources_) {
    if (auto started = source->start(); !started) {
      return started;
    }
    if (auto watched = loop.watch(source->fd(), on_change_); !watched) {
      return watched;
    }
    spdlog::info("following {}", source->describe());
  }
  return Ok{};
}

void Hubs::announce(const GatewayConfig& config, const OwnGateway& own) {
  if (config.etcd.register_at) {
    registration_ = std::make_unique<EtcdRegistration>(registration_options(config, own));
    registration_->start();
  }
}

// A gateway whose last known state cannot be kept serves without: it is a problem to list.
void Hubs::open_keeper(const GatewayConfig& config, Model& model) {
  std::vector<std::string> names;
  std::transform(sources_.begin(), sources_.end(), std::back_inserter(names), [](const Named& one) { return one.hub; });
  IntakeOptions options;
  options.max_age = std::chrono::milliseconds(config.last_known_age_ms);
  options.hold_percent = config.etcd.hold_percent;
  options.hold_time = std::chrono::milliseconds(config.etcd.hold_time_ms);
  options.gateway_hold = std::chrono::milliseconds(kGatewayLeaseMs);
  options.own = config.cluster;
  options.limits = config.admission.limits;
  options.aliases = config.admission.aliases;
  intake_ = std::make_unique<Intake>(options, std::move(names), model);
  if (config.last_known_age_ms == 0) {
    return;
  }
  KeptState kept;
  KeptOwners owners{
      {"", "cluster " + config.cluster + (config.cluster_id == 0 ? "" : ", id " + std::to_string(config.cluster_id))}};
  for (const auto& [hub, source, restored, reported] : sources_) {
    owners[hub] = source->identity();
  }
  auto keeper = Keeper::open(config.last_known_directory, config.name, owners, kept);
  if (!keeper) {
    keeper_error_ = Error{"nothing is kept for a restart without hubs: " + keeper.error().what, keeper.error().where,
                          keeper.error().fix + "; then restart this gateway, which tries it at its start only"};
    return;
  }
  keeper_ = std::move(*keeper);
  holders_ = ClaimHolders(keeper_.get(), kept);
  // A part that its hub has no longer, as a kind that this configuration does not need, says nothing of the others.
  std::erase_if(kept.seen, [&](const auto& entry) {
    const auto& [hub, part] = entry.first;
    const bool followed = std::any_of(
        sources_.begin(), sources_.end(),
        [&, &hub = hub, &part = part](const Named& one) { return one.hub == hub && one.source->follows(part); });
    if (!followed) {
      keeper_->forget_seen(hub, part);
    }
    return !followed;
  });
  seen_ = kept.seen;
  const std::size_t objects = kept.objects.size();
  const auto now = Intake::Clock::now();
  std::size_t unused = 0;
  for (auto& [hub, delta] : intake_->restore(std::move(kept), std::chrono::system_clock::now(), now)) {
    keeper_->objects(hub, {std::move(delta)});
    ++unused;
  }
  if (objects != 0) {
    spdlog::info("restored {} objects that were known before the restart; {} are too old or of another hub",
                 objects - unused, unused);
  }
}

void Hubs::keep(std::size_t hub, std::vector<ObjectDelta> deltas) {
  if (keeper_ != nullptr) {
    keeper_->objects(sources_[hub].hub, std::move(deltas));
  }
}

// What is in step with its hub now: from time to time, and when more of it is.
void Hubs::keep_times() {
  if (keeper_ == nullptr) {
    return;
  }
  const auto current = [](const HubState& state) { return state.sync == HubState::Sync::kSynced; };
  std::vector<std::vector<HubState>> states;
  std::size_t synced = 0;
  for (const auto& [hub, source, restored, reported] : sources_) {
    states.push_back(source->states());
    synced += static_cast<std::size_t>(std::count_if(states.back().begin(), states.back().end(), current));
    synced += source->synced() ? 1 : 0;
    synced += source->policies_listed() ? 1 : 0;
  }
  const auto now = Intake::Clock::now();
  if (synced <= synced_parts_ && now - times_kept_ < kTimesInterval) {
    synced_parts_ = synced;
    return;
  }
  synced_parts_ = synced;
  times_kept_ = now;
  const std::int64_t wall = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    const Source& source = *sources_[i].source;
    const bool policies = source.policies_listed();
    const bool fleet =  // as far as it can be read: an invalid object of one kind has its last version
        source.listed(ObjectKind::kCluster, {}) || source.listed(ObjectKind::kGateway, {});
    if (states[i].empty() && policies && fleet) {
      keep_seen(sources_[i].hub, {}, {wall, policies});
    }
    for (const HubState& state : states[i]) {
      if (current(state) || state.absent) {  // by cluster, or by kind
        keep_seen(sources_[i].hub, state.kind.empty() ? state.name : state.kind,
                  {wall, policies && (state.kind.empty() || state.policies)});
      }
    }
  }
}

void Hubs::keep_seen(const std::string& hub, const std::string& name, const KeptTime& time) {
  seen_[{hub, name}] = time;
  keeper_->seen(hub, name, time);
}

void Hubs::keep_holds(Intake::Clock::time_point now) {
  using Wall = std::chrono::system_clock;
  const auto wall = Wall::now();
  for (const Intake::Hold& hold : intake_->take_holds()) {
    std::optional<KeptTime> until;
    if (hold.until) {
      until = KeptTime{Wall::to_time_t(wall + std::chrono::duration_cast<Wall::duration>(*hold.until - now)), false};
    }
    if (keeper_ != nullptr) {
      keeper_->hold(hold.part, until);
    }
  }
}

// What was kept is lost: everything is told again, also of hubs that are away and what is held, and after it what is in
// step now.
void Hubs::keep_anew(const Model& model, Intake::Clock::time_point now) {
  if (keeper_ == nullptr || !keeper_->lost()) {
    return;
  }
  keeper_->begin_anew();
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    std::vector<ObjectDelta> all;
    model.visit_source(static_cast<Model::SourceNumber>(i),
                       [&](const ObjectKey& key, const ObjectValue& value, const ProvenanceView& provenance) {
                         all.push_back({key, value, provenance.copy()});
                       });
    keeper_->all_objects(sources_[i].hub, std::move(all));
  }
  for (const auto& [of, time] : seen_) {
    keeper_->seen(of.first, of.second, time);
  }
  intake_->repeat_holds();
  keep_holds(now);
  synced_parts_ = 0;
  times_kept_ = {};
}

void Hubs::tell_restored() {
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    RestoredMembers members = intake_->restored_members(static_cast<Model::SourceNumber>(i));
    if (members != sources_[i].restored) {
      sources_[i].source->set_restored(members);
      sources_[i].restored = std::move(members);
    }
  }
}

const Model::Listed& Hubs::find_listed() {
  if (listed_.all) {
    return listed_;
  }
  const auto say_all = [&](const std::string& member, std::initializer_list<ObjectKind> kinds) {
    return std::all_of(sources_.begin(), sources_.end(), [&](const Named& one) {
      return std::all_of(kinds.begin(), kinds.end(), [&](ObjectKind kind) { return one.source->listed(kind, member); });
    });
  };
  bool all = synced();
  for (const std::string& member : members_) {
    using enum ObjectKind;
    if (!listed_.clusters.contains(member) && say_all(member, {kCluster, kNode, kPod, kCiliumEndpoint, kAddress})) {
      listed_.clusters.insert(member);
    }
    all = all && listed_.clusters.contains(member) && say_all(member, {kService, kServiceImport});
  }
  listed_.all = all;
  return listed_;
}

void Hubs::release(std::function<void()> released) {
  if (keeper_ == nullptr) {
    loop_->post(std::move(released));
    return;
  }
  keeper_->release([loop = loop_, released = std::move(released)] { loop->post(released); });
}

void Hubs::regain() {
  if (keeper_ != nullptr) {
    keeper_->resume();
  }
}

void Hubs::close() {
  pause();
  registration_.reset();
  holders_ = ClaimHolders(nullptr, {});
  keeper_.reset();
  sources_.clear();
}

void Hubs::pause() {
  if (!std::exchange(paused_, true)) {
    for (const Named& one : sources_) {
      loop_->unwatch(one.source->fd());
    }
  }
}

void Hubs::resume() {
  if (std::exchange(paused_, false)) {
    for (const Named& one : sources_) {
      // One that cannot be watched now is still asked from time to time, for what changes with time alone.
      static_cast<void>(loop_->watch(one.source->fd(), on_change_));
    }
  }
}

bool Hubs::take(Model& model, const Intake::Answers& answers) {
  bool any = false, listed = true;
  const auto now = Intake::Clock::now();
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    const auto number = static_cast<Model::SourceNumber>(i);
    std::vector<ObjectDelta> applied = intake_->take(number, sources_[i].source->poll(), answers, now);
    std::vector<ObjectDelta> swept = intake_->confirm(number, *sources_[i].source, answers, now);
    any = any || !applied.empty() || !swept.empty();
    keep(i, std::move(applied));
    keep(i, std::move(swept));
    listed = listed && (sources_[i].source->policies_listed() || intake_->policies_restored(number, now));
  }
  for (auto& [hub, delta] : intake_->expire(answers, now)) {
    any = true;
    keep(hub, {std::move(delta)});
  }
  std::map<Intake::Hub, std::vector<ObjectDelta>> renamed;
  for (auto& [hub, delta] : intake_->take_renamed()) {
    renamed[hub].push_back(std::move(delta));
  }
  for (auto& [hub, deltas] : renamed) {
    any = true;
    keep(hub, std::move(deltas));
  }
  keep_holds(now);
  keep_anew(model, now);
  tell_restored();
  keep_times();
  any = model.set_listed(find_listed()) || any;
  return model.set_policies_listed(listed) || any;
}

std::vector<RestoredView> Hubs::restored() const {
  return intake_ == nullptr ? std::vector<RestoredView>{} : intake_->restored(Intake::Clock::now());
}

void Hubs::reload() {
  for (const auto& [hub, source, restored, reported] : sources_) {
    source->reload();
  }
}

bool Hubs::synced() const {
  return std::all_of(sources_.begin(), sources_.end(), [](const Named& one) { return one.source->synced(); });
}

std::vector<SourceProblem> Hubs::problems() const {
  std::vector<SourceProblem> problems;
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    auto of_source = sources_[i].source->problems();
    for (SourceProblem& problem : of_source) {
      if (problem.object && problem.what.ends_with(kPolicyIsClosed) &&
          intake_->outlives(static_cast<Model::SourceNumber>(i), *problem.object)) {
        problem.what.replace(problem.what.size() - kPolicyIsClosed.size(), kPolicyIsClosed.size(), kPreviousApplies);
      }
    }
    problems.insert(problems.end(), std::make_move_iterator(of_source.begin()),
                    std::make_move_iterator(of_source.end()));
  }
  std::vector<Error> more = intake_->problems(Intake::Clock::now());
  if (keeper_error_) {
    more.push_back(*keeper_error_);
  } else if (const auto problem = keeper_ == nullptr ? std::nullopt : keeper_->problem()) {
    more.push_back(*problem);
  }
  for (Error& error : more) {
    problems.push_back({{std::move(error.where), 0}, std::move(error.what), std::move(error.fix)});
  }
  if (registration_ != nullptr && !registration_->last_error().empty()) {
    problems.push_back(
        {{registration_->key(), 0},
         "this gateway is not registered in its hub: " + registration_->last_error(),
         "check the etcd client configuration of hub.etcd.register and its user's rights; other clusters "
         "may still know this gateway by hub.etcd.gateway_service"});
  }
  return problems;
}

void Hubs::report(const std::function<GatewayReport(const ReportableObjects&)>& make) {
  for (Named& named : sources_) {
    const auto objects = named.source->reportable();
    if (objects == nullptr || objects->empty()) {
      continue;
    }
    GatewayReport report = make(*objects);
    if (named.reported == nullptr || !(report == *named.reported)) {
      named.reported = std::make_shared<const GatewayReport>(std::move(report));
      named.source->report(named.reported);
    }
  }
}

std::vector<std::string> Hubs::describe() const {
  std::vector<std::string> lines;
  for (const auto& [hub, source, restored, reported] : sources_) {
    lines.push_back(source->describe());
  }
  return lines;
}

std::vector<HubState> Hubs::states() const {
  std::vector<HubState> states;
  for (const auto& [hub, source, restored, reported] : sources_) {
    for (HubState& state : source->states()) {
      state.hub = hub;
      states.push_back(std::move(state));
    }
  }
  return states;
}

}  // namespace isthmus
