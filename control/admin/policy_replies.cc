#include "control/admin/policy_replies.h"

#include <nlohmann/json.hpp>

namespace isthmus {
namespace {

using nlohmann::json;

std::string reply_line(json content) {
  const json reply{{"ok", true}, {"policy", std::move(content)}};
  return reply.dump(-1, ' ', false, json::error_handler_t::replace);
}

json rule_json(const PolicyRuleRow& row) {
  json rule{{"policy", row.policy}, {"where", row.where}, {"action", row.deny ? "deny" : "allow"},
            {"peers", row.peers},   {"ports", row.ports}, {"decides", row.decides}};
  if (row.peer_matches && row.port_matches) {
    rule["peer_matches"] = *row.peer_matches;
    rule["port_matches"] = *row.port_matches;
  }
  return rule;
}

json direction_json(const PolicyDirectionRow& row) {
  json rules = json::array();
  for (const PolicyRuleRow& rule : row.rules) {
    rules.push_back(rule_json(rule));
  }
  return {{"direction", row.direction}, {"subject", row.subject},   {"peer", row.peer},
          {"ours", row.ours},           {"enforced", row.enforced}, {"verdict", row.verdict},
          {"reason", row.reason},       {"refused", row.refused},   {"rules", std::move(rules)}};
}

json party_json(const PolicyPartyRow& row) {
  json party{{"name", row.name}, {"labels", row.labels}, {"identity", nullptr}};
  if (row.identity) {
    party["identity"] = *row.identity;
  }
  return party;
}

}  // namespace

std::string encode_policies(const PolicyListReply& reply) {
  json rows = json::array();
  for (const PolicyRow& row : reply.policies.rows) {
    rows.push_back({{"kind", row.kind},
                    {"name", row.name},
                    {"where", row.where},
                    {"state", row.state},
                    {"problem", row.problem},
                    {"subjects", row.subjects},
                    {"rules", row.rules}});
  }
  return reply_line({{"enforcement", reply.enforcement},
                     {"audit", reply.audit},
                     {"subjects", reply.subjects},
                     {"policies", std::move(rows)},
                     {"truncated", reply.policies.truncated}});
}

std::string encode_policy_trace(const PolicyTraceReply& reply) {
  json directions = json::array();
  for (const PolicyDirectionRow& row : reply.directions) {
    directions.push_back(direction_json(row));
  }
  json content{{"directions", std::move(directions)}};
  if (reply.to) {
    content["from"] = party_json(reply.endpoint);
    content["to"] = party_json(*reply.to);
    content["port"] = reply.port;
    content["verdict"] = reply.verdict;
  } else {
    content["endpoint"] = party_json(reply.endpoint);
  }
  return reply_line(std::move(content));
}

}  // namespace isthmus
