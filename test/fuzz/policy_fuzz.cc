// Parses arbitrary text as the policies of a cluster with a few identities. Nothing may crash, every error has a line
// and a fix, the compiled tables are consistent, and removing the policies leaves no entry behind.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "control/compile/compiler.h"
#include "control/policy/explain.h"
#include "control/source/file/hub_objects.h"

namespace {

using namespace isthmus;

void require(bool condition) {
  if (!condition) {
    __builtin_trap();
  }
}

constexpr const char* kFleet = R"(apiVersion: isthmus.io/v1alpha1
kind: Cluster
metadata: {name: east}
spec: {id: 1, podCIDRs: [10.1.0.0/16, "fd00:1::/48"]}
---
apiVersion: isthmus.io/v1alpha1
kind: Gateway
metadata: {name: east-1}
spec: {cluster: east, underlayAddress: 192.0.2.1}
)";
constexpr const char* kIdentities = R"(apiVersion: cilium.io/v2
kind: CiliumIdentity
metadata: {name: "65792"}
security-labels: {"k8s:app": web, "k8s:io.kubernetes.pod.namespace": shop}
---
apiVersion: cilium.io/v2
kind: CiliumIdentity
metadata: {name: "65793"}
security-labels: {"k8s:app": cart, "k8s:io.kubernetes.pod.namespace": default}
)";

// The tables of an engine; apply() checks that every delta keeps them consistent.
struct Tables {
  std::map<SelectorId, SelectorEntry> selectors;
  std::map<Identity, std::shared_ptr<const SubjectPolicy>> subjects;

  void apply(const TableDelta& delta) {
    for (const SelectorEntry& entry : delta.upsert_selectors) {
      require(entry.identities != nullptr && std::is_sorted(entry.identities->begin(), entry.identities->end()));
      selectors[entry.id] = entry;
    }
    for (const SelectorId id : delta.remove_selectors) {
      require(selectors.erase(id) == 1);
    }
    for (const Identity subject : delta.remove_policies) {
      require(subjects.erase(subject) == 1);
    }
    for (const auto& policy : delta.upsert_policies) {
      subjects[policy->subject] = policy;
    }
    for (const auto& [subject, policy] : subjects) {
      for (const DirectionPolicy* direction : {&policy->ingress, &policy->egress}) {
        for (const PolicyEntry& entry : direction->entries) {
          require(entry.first_port <= entry.last_port && entry.rule != kNoRule);
          require(entry.peers == kEveryPeer || selectors.contains(entry.peers));
        }
      }
    }
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  HubObjects hub;
  Model model;
  CompilerOptions options;
  options.cluster = "east";
  options.gateway = "east-1";
  Compiler compiler(options, model, [](const IpAddress&) { return AdjacencyId{1}; });
  Tables tables;
  const auto compile = [&] {
    for (const ObjectDelta& delta : hub.take_deltas()) {
      model.apply(0, delta);
    }
    tables.apply(compiler.compile(model.take_changes()).delta);
  };
  hub.set_text("fleet", "", kFleet);
  hub.set_text("identities", "east", kIdentities);
  compile();
  hub.set_text("policies", "east", text);
  compile();
  for (const SourceProblem& problem : hub.problems()) {
    require(!problem.what.empty() && !problem.fix.empty() && problem.provenance.line > 0);
  }
  const PolicyParty subject = party_of(Identity{65792}, "a", compiler.policy());
  const PolicyParty peer = party_of(Identity{65793}, "b", compiler.policy());
  const PolicyQuestion question{6, 80};
  for (const bool egress : {false, true}) {
    (void)explain(compiler.policy(), model, "east", egress, subject, &peer, &question);
  }
  hub.remove("policies");
  compile();
  require(tables.subjects.empty() && tables.selectors.empty() && compiler.policy().policies().empty());
  return 0;
}
