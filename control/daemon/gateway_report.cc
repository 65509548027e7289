#include "control/daemon/gateway_report.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

namespace isthmus {
namespace {

bool is_ours(ObjectKind kind) {
  return kind == ObjectKind::kCluster || kind == ObjectKind::kGateway || kind == ObjectKind::kProfile;
}

// Where the object in force of that key comes from; nullopt: there is none.
std::optional<std::string> place_in_force(const Model& model, const ObjectKey& key) {
  const auto place = [](const auto& found) {
    return found ? std::optional(found.provenance.copy().location) : std::nullopt;
  };
  switch (key.kind) {
    case ObjectKind::kCluster:
      return place(model.find<ClusterObject>(key));
    case ObjectKind::kGateway:
      return place(model.find<GatewayObject>(key));
    default:
      return place(model.find<ProfileObject>(key));
  }
}

class Reporter {
 public:
  explicit Reporter(const ReportParts& parts) : parts_(parts) {
    for (const SourceProblem& problem : parts.refused) {
      if (problem.object) {
        refused_.insert(problem.provenance.text());
      }
    }
    for (const ProblemRow& row : parts.problems) {
      std::string& text = problems_[row.where];
      text += (text.empty() ? "" : "; ") + row.what + (row.fix.empty() ? "" : " (" + row.fix + ")");
    }
    for (const ClusterView& cluster : parts.compiler.clusters()) {
      clusters_.insert(cluster.name);
      for (const GatewayView& gateway : cluster.gateways) {
        gateways_.insert(gateway.name);
      }
    }
  }

  // Nothing: it is not known yet, or there is nothing to say.
  [[nodiscard]] std::optional<ObjectReport> report(const std::string& location, const ReportableObject& object) const {
    ObjectReport out{location, object.generation, true, "Accepted", "in use"};
    const auto at = problems_.find(location);
    const bool has_problem = at != problems_.end(), refused = refused_.contains(location);
    if (!is_ours(object.key.kind)) {
      out.accepted = false;
      out.reason = refused ? "PolicyRefused" : "PolicyPartlyRefused";
      out.message = has_problem ? at->second : "";
      return has_problem ? std::optional(out) : std::nullopt;
    }
    if (has_problem) {
      out.reason = "PartlyRefused";
      out.message = at->second;
    }
    if (refused) {
      out.accepted = false;
      out.reason = "Invalid";
      return out;
    }
    const auto place = place_in_force(parts_.model, object.key);
    if (!place) {
      return std::nullopt;
    }
    if (*place != location) {
      out.accepted = false;
      out.reason = "Shadowed";
      out.message = "another hub comes first, and what it says is in use: " + *place;
    } else if (!used(object.key, has_problem)) {
      out.accepted = false;
      out.reason = "Refused";
      out.message = has_problem ? at->second : "the gateway's list of problems (isthmus status) says why";
    }
    return out;
  }

 private:
  // A gateway of a cluster that is not linked is not among the peers, and is no problem.
  [[nodiscard]] bool used(const ObjectKey& key, bool has_problem) const {
    return key.kind == ObjectKind::kCluster   ? clusters_.contains(key.name)
           : key.kind == ObjectKind::kGateway ? !has_problem || gateways_.contains(key.name)
                                              : true;
  }

  const ReportParts& parts_;
  std::set<std::string> refused_, clusters_, gateways_;
  std::map<std::string, std::string> problems_;
};

}  // namespace

GatewayReport report_objects(const ReportableObjects& objects, const ReportParts& parts) {
  GatewayReport out;
  out.gateway = parts.gateway;
  out.gateways.insert(parts.gateway);
  for (const ClusterView& cluster : parts.compiler.clusters()) {
    for (const GatewayView& gateway : cluster.gateways) {
      if (cluster.name == parts.cluster) {
        out.gateways.insert(gateway.name);
      }
    }
  }
  const Reporter reporter(parts);
  for (const auto& [location, object] : objects) {
    if (object.key.kind == ObjectKind::kGateway) {
      const auto gateway = parts.model.find<GatewayObject>(object.key);
      if (gateway && gateway->cluster == parts.cluster) {
        out.gateways.insert(object.key.name);
      }
      out.own = object.key.name == parts.gateway ? location : out.own;
    }
    if (auto report = reporter.report(location, object)) {
      out.objects.push_back(*std::move(report));
    }
  }
  return out;
}

}  // namespace isthmus
