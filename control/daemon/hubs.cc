#include "control/daemon/hubs.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "control/source/etcd/etcd_source.h"
#include "control/source/file/file_source.h"
#include "control/source/kubernetes/fleet_hub_source.h"
#include "control/source/kubernetes/kubernetes_source.h"

namespace isthmus {

namespace {

EtcdSourceOptions etcd_options(const GatewayConfig& config) {
  EtcdSourceOptions options;
  options.own_cluster = config.cluster;
  options.own_id = ClusterId{config.cluster_id};
  options.own_gateway = config.name;
  options.folder = config.etcd.clusters.value_or("");
  options.kvstoremesh = config.etcd.kvstoremesh.value_or("");
  options.max_connected_clusters = config.etcd.max_clusters;
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

Status Hubs::open(const GatewayConfig& config, EventLoop& loop, std::function<void()> on_change) {
  if (config.hub_file) {
    sources_.push_back({"file", std::make_unique<FileSource>(*config.hub_file)});
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
    sources_.push_back({"kubernetes", std::make_unique<KubernetesSource>(options)});
  }
  if (config.kubernetes.fleet) {
    FleetHubSourceOptions options;
    options.server = api_server(*config.kubernetes.fleet);
    options.own_cluster = config.kubernetes.cluster ? config.cluster : "";
    sources_.push_back({"fleet", std::make_unique<FleetHubSource>(options)});
  }
  for (const auto& [hub, source] : sources_) {
    if (auto started = source->start(); !started) {
      return started;
    }
    if (auto watched = loop.watch(source->fd(), on_change); !watched) {
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

bool Hubs::take(Model& model) {
  bool any = false;
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    for (const ObjectDelta& delta : sources_[i].source->poll()) {
      model.apply(static_cast<Model::SourceNumber>(i), delta);
      any = true;
    }
  }
  const bool listed =
      std::all_of(sources_.begin(), sources_.end(), [](const Named& one) { return one.source->policies_listed(); });
  return model.set_policies_listed(listed) || any;
}

void Hubs::reload() {
  for (const auto& [hub, source] : sources_) {
    source->reload();
  }
}

bool Hubs::synced() const {
  return std::all_of(sources_.begin(), sources_.end(), [](const Named& one) { return one.source->synced(); });
}

std::vector<SourceProblem> Hubs::problems() const {
  std::vector<SourceProblem> problems;
  for (const auto& [hub, source] : sources_) {
    auto of_source = source->problems();
    problems.insert(problems.end(), std::make_move_iterator(of_source.begin()),
                    std::make_move_iterator(of_source.end()));
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

std::vector<std::string> Hubs::describe() const {
  std::vector<std::string> lines;
  for (const auto& [hub, source] : sources_) {
    lines.push_back(source->describe());
  }
  return lines;
}

std::vector<HubState> Hubs::states() const {
  std::vector<HubState> states;
  for (const auto& [hub, source] : sources_) {
    for (HubState& state : source->states()) {
      state.hub = hub;
      states.push_back(std::move(state));
    }
  }
  return states;
}

}  // namespace isthmus
