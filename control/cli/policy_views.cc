#include "control/cli/policy_views.h"

#include "control/cli/json_members.h"

namespace isthmus {
namespace {

using namespace json_members;

std::string list_view(const json& policy) {
  std::string text;
  add_fact(text, "enforcement", text_of(policy, "enforcement") + (is_set(policy, "audit") ? ", audit only" : ""));
  add_fact(text, "subjects", count_of(policy, "subjects") + " identities of this cluster are selected");
  Table table{{"KIND"}, {"NAME"}, {"STATE"}, {"SUBJECTS", Align::kRight}, {"RULES", Align::kRight}, {"WHERE"}};
  std::string problems;
  for (const json* row : list_of(policy, "policies")) {
    table.add({text_of(*row, "kind"), text_of(*row, "name"), text_of(*row, "state"), count_of(*row, "subjects"),
               count_of(*row, "rules"), text_of(*row, "where")});
    if (const std::string problem = text_of(*row, "problem"); !problem.empty()) {
      problems += "  " + printable(text_of(*row, "name") + ": " + problem) + "\n";
    }
  }
  text += table.empty() ? "\nNo policies.\n" : "\n" + table.text();
  text += problems.empty() ? "" : "\nproblems\n" + problems;
  return text + (is_set(policy, "truncated") ? "(more policies exist: raise --limit)\n" : "");
}

std::string trace_party_text(const json& party) {
  std::string text = text_of(party, "name");
  if (party.contains("identity") && party["identity"].is_number_unsigned()) {
    text += ", identity " + count_of(party, "identity");
  }
  const std::string labels = text_of(party, "labels");
  return text + (labels.empty() ? "" : ", " + labels);
}

const char* match_text(const json& rule) {
  if (!rule.contains("peer_matches")) {
    return "";
  }
  if (is_set(rule, "decides")) {
    return "decides";
  }
  if (!is_set(rule, "peer_matches")) {
    return is_set(rule, "port_matches") ? "other peers" : "other peers and ports";
  }
  return is_set(rule, "port_matches") ? "matches" : "other ports";
}

std::string direction_view(const json& direction) {
  const bool is_trace = !text_of(direction, "peer").empty();
  std::string head = text_of(direction, "direction") + " of " + text_of(direction, "subject");
  if (!is_set(direction, "ours")) {
    head += ": not enforced here, " + text_of(direction, "reason");
  } else if (is_trace) {
    head += ": " + text_of(direction, "verdict") + ", " + text_of(direction, "reason");
  } else {
    head += is_set(direction, "enforced") ? ": closed but for these rules" : ": open but for deny rules";
  }
  Table table{{"ACTION"}, {"PEERS"}, {"PORTS"}, {"POLICY"}, {"WHERE"}, {is_trace ? "HERE" : ""}};
  for (const json* rule : list_of(direction, "rules")) {
    table.add({text_of(*rule, "action"), text_of(*rule, "peers"), text_of(*rule, "ports"), text_of(*rule, "policy"),
               text_of(*rule, "where"), match_text(*rule)});
  }
  std::string refused;
  if (const auto names = direction.find("refused"); names != direction.end() && names->is_array()) {
    for (const json& name : *names) {
      refused += name.is_string() ? "  " + printable(name.get<std::string>()) +
                                        " selects it and is refused: isthmus policy says why\n"
                                  : "";
    }
  }
  return "\n" + printable(head) + "\n" + refused + (table.empty() ? "" : table.text());
}

}  // namespace

std::string policy_view(const json& policy) {
  if (!policy.contains("directions")) {
    return list_view(policy);
  }
  std::string text;
  if (policy.contains("to")) {
    add_fact(text, "from", trace_party_text(member(policy, "from")));
    add_fact(text, "to", trace_party_text(member(policy, "to")));
    add_fact(text, "port", text_of(policy, "port"));
    add_fact(text, "verdict", text_of(policy, "verdict"));
  } else {
    add_fact(text, "endpoint", trace_party_text(member(policy, "endpoint")));
  }
  for (const json* direction : list_of(policy, "directions")) {
    text += direction_view(*direction);
  }
  return text;
}

}  // namespace isthmus
