// Cost of identity policy on the control side: 10,000 policies over 25,000 identities, each policy with its own subject
// selector, two rules and a CIDR. Prints the time of the full compilation, of a change of one policy and of one
// identity (median and worst of a hundred), and the memory used. Run manually, in a release build.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "control/compile/compiler.h"
#include "control/model/model.h"

namespace {

using namespace isthmus;
using Clock = std::chrono::steady_clock;

constexpr unsigned kPolicies = 10'000, kIdentities = 25'000, kClusters = 10, kNamespaces = 100, kChanges = 100;

double milliseconds(Clock::duration passed) { return std::chrono::duration<double, std::milli>(passed).count(); }

double resident_mib() {
  std::ifstream status("/proc/self/statm");
  std::size_t total = 0, resident = 0;
  status >> total >> resident;
  return static_cast<double>(resident) * 4096 / (1 << 20);
}

std::string name_of(const char* what, unsigned number) { return what + std::to_string(number); }

// An application in each namespace of each cluster; the first cluster is ours.
IdentityObject labelled(unsigned number, const std::string& version) {
  const unsigned cluster = number % kClusters, app = number / kClusters;
  IdentityObject object;
  object.id = Identity{(cluster + 1) << 16 | (256 + app)};
  object.labels = {
      {"k8s:app", name_of("app-", app)},
      {"k8s:version", version},
      {"k8s:io.kubernetes.pod.namespace", name_of("ns-", app % kNamespaces)},
      {"k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name", name_of("ns-", app % kNamespaces)},
      {"k8s:io.cilium.k8s.policy.serviceaccount", "default"},
      {"k8s:io.cilium.k8s.policy.cluster", name_of("c", cluster)}};
  return object;
}

LabelRequirement is(const char* key, const std::string& value) { return {"k8s", key, LabelOperator::kIn, {value}}; }

PolicyObject policy(unsigned number, std::uint16_t port) {
  const unsigned apps = kIdentities / kClusters, app = number % apps;
  PolicySpec spec;
  const std::string ns = name_of("ns-", app % kNamespaces);
  spec.subjects.requirements = {is("app", name_of("app-", app)), is("io.kubernetes.pod.namespace", ns)};
  spec.default_deny_ingress = true;
  PolicyRule peers;
  peers.endpoints = {{{is("app", name_of("app-", (number * 7 + 1) % apps)),
                       {"k8s", "io.cilium.k8s.policy.cluster", LabelOperator::kExists, {}}}},
                     {{is("version", "v1"), is("io.kubernetes.pod.namespace", ns)}}};
  peers.ports = {{6, port, port, {}}, {6, 8080, 8090, {}}};
  PolicyRule block;
  block.line = 5;
  const auto octet = [](unsigned value) { return std::to_string(value % 250); };
  block.cidrs = {{Prefix::parse("203." + octet(number) + "." + octet(number / 250) + ".0/24"), {}, {}, {}}};
  block.any_port = true;
  spec.rules = {peers, block};
  return {{spec}};
}

struct Spread {
  std::vector<double> values;
  void print(const char* what) {
    std::sort(values.begin(), values.end());
    std::printf("%-28s median %8.3f ms, worst %8.3f ms\n", what, values[values.size() / 2], values.back());
  }
};

}  // namespace

int main() {
  Model model;
  const auto put = [&](ObjectKind kind, const std::string& cluster, const std::string& ns, const std::string& name,
                       ObjectValue value) {
    model.apply(0, {{kind, cluster, ns, name}, std::move(value), {"bench", 1}});
  };
  for (unsigned cluster = 0; cluster < kClusters; ++cluster) {
    put(ObjectKind::kCluster, "", "", name_of("c", cluster),
        ClusterObject{ClusterId{static_cast<std::uint16_t>(cluster + 1)},
                      {*Prefix::parse("10." + std::to_string(cluster + 1) + ".0.0/16")},
                      {}});
    put(ObjectKind::kGateway, "", "", name_of("g", cluster),
        GatewayObject{name_of("c", cluster), *IpAddress::parse("192.0.2." + std::to_string(cluster + 1)),
                      L4Port{8472}});
  }
  const auto put_identity = [&](unsigned number, const std::string& version) {
    const IdentityObject object = labelled(number, version);
    put(ObjectKind::kIdentity, name_of("c", number % kClusters), "", std::to_string(object.id.value()), object);
  };
  const auto put_policy = [&](unsigned number, std::uint16_t port) {
    put(ObjectKind::kCiliumPolicy, "c0", "shop", name_of("p", number), policy(number, port));
  };
  for (unsigned i = 0; i < kIdentities; ++i) {
    put_identity(i, name_of("v", i % 50));
  }
  for (unsigned i = 0; i < kPolicies; ++i) {
    put_policy(i, 80);
  }
  CompilerOptions options;
  options.cluster = "c0";
  options.gateway = "g0";
  Compiler compiler(options, model, [](const IpAddress&) { return AdjacencyId{1}; });
  const double before = resident_mib();
  const auto timed = [&](CompileResult& result) {
    const auto start = Clock::now();
    result = compiler.compile(model.take_changes());
    return milliseconds(Clock::now() - start);
  };
  CompileResult result;
  const double full = timed(result);
  std::printf("%u policies, %u identities in %u clusters\n", kPolicies, kIdentities, kClusters);
  std::printf("%-28s %8.1f ms: %zu subjects, %zu selectors, %zu prefixes\n", "full compilation", full,
              result.delta.upsert_policies.size(), result.delta.upsert_selectors.size(),
              result.delta.cidr_identities ? result.delta.cidr_identities->size() : 0);
  std::printf("%-28s %8.1f MiB, of which the compiled form %.1f\n", "memory", resident_mib(), resident_mib() - before);
  Spread of_policy, of_own, of_remote;
  std::size_t upserts = 0;
  for (unsigned i = 0; i < kChanges; ++i) {
    put_policy(i * 97 % kPolicies, static_cast<std::uint16_t>(1000 + i));
    of_policy.values.push_back(timed(result));
    upserts += result.delta.upsert_policies.size();
    put_identity(i * kClusters * 13 % kIdentities, "v1");
    of_own.values.push_back(timed(result));
    put_identity((i * kClusters * 13 + 1) % kIdentities, "v1");
    of_remote.values.push_back(timed(result));
  }
  of_policy.print("one policy's change");
  of_own.print("one own identity's labels");
  of_remote.print("one remote identity's labels");
  std::printf("%-28s %.1f subjects published on average\n", "a policy's change",
              static_cast<double>(upserts) / kChanges);
  return 0;
}
