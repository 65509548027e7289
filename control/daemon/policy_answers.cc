#include "control/daemon/policy_answers.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include "config/model/policy_enforcement.h"
#include "control/admin/policy_replies.h"
#include "control/policy/explain.h"
#include "dataplane/api/identity.h"

namespace isthmus {
namespace {

const char* to_text(PolicyOutcome outcome) {
  switch (outcome) {
    case PolicyOutcome::kNotApplicable:
      return "";
    case PolicyOutcome::kAllowed:
      return "allowed";
    case PolicyOutcome::kDenied:
      return "denied";
    case PolicyOutcome::kDeniedByRule:
      return "denied by a rule";
    case PolicyOutcome::kAudited:
      break;
  }
  return "audited";
}

bool is_policy(ObjectKind kind) {
  return kind == ObjectKind::kNetworkPolicy || kind == ObjectKind::kCiliumPolicy ||
         kind == ObjectKind::kClusterwidePolicy;
}

PolicyRow empty_row(const ObjectKey& key) {
  PolicyRow row;
  row.kind = kind_text(key.kind);
  row.name = key.ns.empty() ? key.name : key.ns + "/" + key.name;
  return row;
}

std::map<ObjectKey, PolicyRow> policy_rows(const PolicySources& sources) {
  const PolicySet& policy = sources.compiler.policy();
  std::map<ObjectKey, PolicyRow> rows;
  for (const ObjectKey& key : policy.policies()) {
    PolicyRow& row = rows.emplace(key, empty_row(key)).first->second;
    row.state = "applied";
    if (const auto object = sources.model.find<PolicyObject>(key)) {
      row.state = object->refused ? "refused" : "applied";
      row.where = object.provenance.text();
    }
    std::set<Identity> subjects;
    for (const CompiledSpec* spec : policy.specs_of(key)) {
      std::copy_if(spec->selected.begin(), spec->selected.end(), std::inserter(subjects, subjects.end()),
                   [](Identity each) { return !identity::is_receiver(each); });
      row.rules += spec->rules.size();
      if (!spec->problems.empty()) {
        row.problem = spec->problems.front().what;
      }
    }
    row.subjects = subjects.size();
  }
  std::set<ObjectKey> explained;  // by the first problem of each
  for (const SourceProblem& problem : sources.problems) {
    if (!problem.object || !is_policy(problem.object->kind) || problem.object->cluster != sources.config.cluster) {
      continue;
    }
    if (!explained.insert(*problem.object).second) {
      continue;
    }
    PolicyRow& row = rows.emplace(*problem.object, empty_row(*problem.object)).first->second;
    row.state = row.state == "applied" ? "outdated" : "refused";
    row.where = problem.provenance.text();
    row.problem = problem.what + "; " + problem.fix;
  }
  return rows;
}

std::string answer_list(const AdminRequest& request, const PolicySources& sources) {
  const PolicySet& policy = sources.compiler.policy();
  PolicyListReply reply;
  reply.enforcement = name_in(kPolicyEnforcementNames, policy.settings().enforcement);
  reply.audit = policy.settings().audit;
  reply.subjects = policy.subject_count();
  for (auto& [key, row] : policy_rows(sources)) {
    if (reply.policies.rows.size() == request.limit) {
      reply.policies.truncated = true;
      break;
    }
    reply.policies.rows.push_back(std::move(row));
  }
  return encode_policies(reply);
}

// "[cluster/]namespace/pod" or "[cluster/]node"; without a cluster, ours is preferred.
std::optional<EndpointView> find_endpoint(const Compiler& compiler, const std::string& name, const std::string& own) {
  std::optional<EndpointView> found;
  compiler.visit_endpoints([&](const EndpointView& endpoint) {
    const std::string short_name = endpoint.node ? endpoint.name : endpoint.ns + "/" + endpoint.name;
    if (name == endpoint.cluster + "/" + short_name || (name == short_name && endpoint.cluster == own)) {
      found = endpoint;
      return false;
    }
    if (name == short_name && (!found || endpoint.cluster < found->cluster)) {
      found = endpoint;
    }
    return true;
  });
  return found;
}

PolicyParty party_at(const PolicySet& policy, const IpAddress& address, const std::optional<EndpointView>& endpoint,
                     const std::string& name) {
  const Identity known = endpoint ? endpoint->identity : identity::kWorld;
  const bool unlabelled = identity::is_unlabelled(known);
  const bool by_prefix = unlabelled || known == identity::kWorld;
  PolicyParty party = party_of(by_prefix ? policy.identity_at(address, unlabelled) : known, name, policy);
  party.receives_as = policy.receives_as(address, *party.identity);
  return party;
}

Result<PolicyParty> find_party(const std::string& text, const PolicySources& sources, bool labels_too) {
  const Compiler& compiler = sources.compiler;
  const PolicySet& policy = compiler.policy();
  if (const auto address = IpAddress::parse(text)) {
    const auto endpoint = compiler.find_endpoint(*address);
    const std::string name = endpoint ? text + " (" + endpoint->cluster + "/" +
                                            (endpoint->ns.empty() ? "" : endpoint->ns + "/") + endpoint->name + ")"
                                      : text;
    return party_at(policy, endpoint ? endpoint->address : *address, endpoint, name);
  }
  if (text.find('=') == std::string::npos && text.find(':') == std::string::npos) {
    if (const auto endpoint = find_endpoint(compiler, text, sources.config.cluster)) {
      const std::string name =
          endpoint->cluster + "/" + (endpoint->ns.empty() ? "" : endpoint->ns + "/") + endpoint->name;
      return party_at(policy, endpoint->address, endpoint, name);
    }
  } else if (labels_too) {
    if (auto party = parse_label_party(text, sources.config.cluster)) {
      return *std::move(party);
    }
  }
  return Error{"no endpoint '" + text + "' is known", sources.config.name,
               std::string("write [CLUSTER/]NAMESPACE/POD, an address") +
                   (labels_too ? ", or labels as KEY=VALUE,..." : "") + "; isthmus endpoints lists them"};
}

PolicyPartyRow party_row(const PolicyParty& party) {
  PolicyPartyRow row{party.name, std::nullopt, to_text(party.known.labels)};
  if (party.identity) {
    row.identity = party.identity->value();
  }
  return row;
}

PolicyDirectionRow direction_row(const ExplainedDirection& from, bool asked) {
  PolicyDirectionRow row;
  row.direction = from.egress ? "egress" : "ingress";
  row.subject = from.subject;
  row.peer = from.peer;
  row.ours = from.ours;
  row.enforced = from.enforced;
  row.verdict = to_text(from.outcome);
  row.reason = from.reason;
  row.refused = from.refused;
  for (const ExplainedRule& rule : from.rules) {
    PolicyRuleRow out{rule.name.policy(), rule.name.where(), rule.name.deny, rule.peers, rule.ports, {}, {},
                      rule.decides};
    if (asked) {
      out.peer_matches = rule.peer_matches;
      out.port_matches = rule.port_matches;
    }
    row.rules.push_back(std::move(out));
  }
  return row;
}

std::string answer_endpoint(const AdminRequest& request, const PolicySources& sources) {
  const auto party = find_party(request.endpoint, sources, false);
  if (!party) {
    return encode_error(party.error());
  }
  const PolicySet& policy = sources.compiler.policy();
  PolicyTraceReply reply;
  reply.endpoint = party_row(*party);
  for (const bool egress : {false, true}) {
    reply.directions.push_back(
        direction_row(explain(policy, sources.model, sources.config.cluster, egress, *party), false));
  }
  return encode_policy_trace(reply);
}

std::string answer_trace(const AdminRequest& request, const PolicySources& sources) {
  const auto from = find_party(request.from, sources, true), to = find_party(request.to, sources, true);
  if (!from || !to) {
    return encode_error(from ? to.error() : from.error());
  }
  const auto question = parse_question(request.port);
  if (!question) {
    return encode_error({"'" + request.port + "' is not a port", sources.config.name,
                         "write NUMBER/tcp, NUMBER/udp, NUMBER/sctp, TYPE/icmp or TYPE/icmpv6"});
  }
  const PolicySet& policy = sources.compiler.policy();
  PolicyTraceReply reply;
  reply.endpoint = party_row(*from);
  reply.to = party_row(*to);
  reply.port = request.port;
  const ExplainedDirection egress =
      explain(policy, sources.model, sources.config.cluster, true, *from, &*to, &*question);
  const ExplainedDirection ingress =
      explain(policy, sources.model, sources.config.cluster, false, *to, &*from, &*question);
  reply.directions = {direction_row(egress, true), direction_row(ingress, true)};
  const auto denies = [](const ExplainedDirection& direction) {
    return direction.outcome == PolicyOutcome::kDenied || direction.outcome == PolicyOutcome::kDeniedByRule;
  };
  reply.verdict = denies(egress) || denies(ingress) ? "denied" : "allowed";
  return encode_policy_trace(reply);
}

}  // namespace

PolicyMetrics policy_metrics(const PolicySources& sources) {
  const PolicySet& policy = sources.compiler.policy();
  PolicyMetrics metrics{policy.counts(), policy.settings().audit, 0, 0};
  std::set<ObjectKey> seen;
  for (const SourceProblem& problem : sources.problems) {
    if (problem.object && is_policy(problem.object->kind) && problem.object->cluster == sources.config.cluster &&
        seen.insert(*problem.object).second) {
      const auto applied = sources.model.find<PolicyObject>(*problem.object);
      ++(applied && !applied->refused ? metrics.outdated : metrics.refused);
    }
  }
  return metrics;
}

std::string answer_policy(const AdminRequest& request, const PolicySources& sources) {
  if (!request.from.empty() || !request.to.empty()) {
    return answer_trace(request, sources);
  }
  return request.endpoint.empty() ? answer_list(request, sources) : answer_endpoint(request, sources);
}

}  // namespace isthmus
