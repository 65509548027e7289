#include "perf/hub/own_objects.h"

#include <string>
#include <utility>

namespace isthmus::perf {
namespace {

constexpr std::uint32_t kVipBase = 0x0a400000;
constexpr std::uint32_t kPolicedPods = 8192;  // the first of those that policies select
constexpr std::uint32_t kApps = 100;          // that pods and policies have labels of

IpAddress address(std::uint32_t base, std::uint32_t n) { return IpAddress::ipv4(Be32::of(base + n)); }

std::string app_name(std::uint32_t number) { return "app-" + std::to_string(number % kApps); }

LabelSelector selector_of(const char* key, const std::string& value) {
  return {{{"k8s", key, LabelOperator::kIn, {value}}}};
}

}  // namespace

Prefix own_prefix() { return {address(kOwnBase, 0), 18}; }
Prefix vip_pool() { return {address(kVipBase, 0), 16}; }

std::vector<ObjectDelta> own_objects(const SyntheticFleet& fleet, const IpAddress& tunnel) {
  std::vector<ObjectDelta> objects;
  const auto add = [&](ObjectKind kind, const char* ns, const std::string& name, ObjectValue value) {
    const bool of_fleet = kind == ObjectKind::kCluster || kind == ObjectKind::kGateway;
    objects.push_back({{kind, of_fleet ? "" : cluster_name(kOwnCluster), ns, name}, std::move(value), {"own", 0}});
  };
  const std::string own = cluster_name(kOwnCluster);
  add(ObjectKind::kCluster, "", own, ClusterObject{ClusterId{kOwnCluster}, {own_prefix()}, {}});
  add(ObjectKind::kGateway, "", "own-1", GatewayObject{own, tunnel});
  for (std::uint32_t s = 0; s < fleet.services; ++s) {
    ServiceObject service;
    service.global = true;
    service.ports = {{"http", IpProtocol::kTcp, L4Port{80}}};
    service.claimed_vips = {address(kVipBase, s)};
    add(ObjectKind::kService, "shop", service_name(s), service);
  }
  const auto add_pod = [&](std::uint32_t offset, const std::string& app) {
    PodObject pod;
    pod.addresses = {address(kOwnBase, offset)};
    pod.node = "own-node";
    pod.labels = {{"app", app}};
    add(ObjectKind::kPod, "shop", "own-pod-" + std::to_string(offset), pod);
  };
  for (std::uint32_t p = 0; p < kOwnPods; ++p) {
    add_pod(1 + p, "target");
    add_pod(kPolicedPods + p, app_name(p));
  }
  for (std::uint32_t p = 0; p < fleet.policies; ++p) {
    objects.push_back(own_policy(p, 0));
  }
  return objects;
}

ObjectDelta own_policy(std::uint32_t number, std::uint32_t version) {
  PolicyRule rule;
  rule.endpoints = {selector_of("app", app_name(number + 1))};
  rule.ports = {
      {6, static_cast<std::uint16_t>(8000 + version % 1000), static_cast<std::uint16_t>(8000 + version % 1000), {}}};
  PolicySpec spec;
  spec.subjects = selector_of("app", app_name(number));
  spec.default_deny_ingress = true;
  spec.rules = {rule};
  PolicyObject policy;
  policy.specs = {spec};
  return {{ObjectKind::kCiliumPolicy, cluster_name(kOwnCluster), "shop", "allow-" + std::to_string(number)},
          policy,
          {"own", 0}};
}

}  // namespace isthmus::perf
