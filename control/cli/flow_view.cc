#include "control/cli/flow_view.h"

#include <absl/strings/ascii.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

#include "config/yaml/rfc3339.h"
#include "control/cli/json_members.h"
#include "control/cli/table.h"
#include "control/observe/cilium_names.h"

namespace isthmus {
namespace {

using nlohmann::json;

// "Nov 22 23:59:01.123" for "2026-11-22T23:59:01.123456789Z".
std::string short_time(const std::string& text) {
  const auto time = parse_rfc3339(text);
  if (!time) {
    return "N/A";
  }
  const std::time_t seconds = *time;
  const auto point = std::min(text.find('.'), text.size());
  std::tm local{};
  ::localtime_r(&seconds, &local);
  char date[32];
  std::strftime(date, sizeof date, "%b %e %H:%M:%S", &local);
  const std::string fraction = text.substr(point, 4);
  return date + (fraction.size() == 4 ? fraction : std::string(".000"));
}

// The object below "l4" that holds the ports.
const json& ports_of(const json& flow) {
  for (const char* protocol : {"TCP", "UDP", "SCTP"}) {
    if (const json& l4 = member(flow, "l4"); l4.contains(protocol)) {
      return member(l4, protocol);
    }
  }
  return member(flow, "no ports");
}

// "shop/web-0:80"; "west/shop/web-0:80" of another cluster's pod; the address where no pod is known.
std::string party_text(const json& flow, const char* end, const char* port, const std::string& own_cluster) {
  const json& party = member(flow, end);
  const std::string pod = text_of(party, "pod_name"), cluster = text_of(party, "cluster_name");
  const std::uint64_t number = number_of(ports_of(flow), port);
  if (pod.empty()) {
    const std::string address = text_of(member(flow, "IP"), end);
    return address.empty() ? "-" : endpoint_text(address, number);
  }
  const std::string where = cluster.empty() || cluster == own_cluster ? "" : cluster + "/";
  return where + text_of(party, "namespace") + "/" + pod + (number == 0 ? "" : ":" + std::to_string(number));
}

std::string identity_text(const json& flow, const char* end) {
  const std::uint64_t number = number_of(member(flow, end), "identity");
  const auto name = reserved_identity_name(Identity{static_cast<std::uint32_t>(number)});
  return name.empty() ? "(ID:" + std::to_string(number) + ")" : "(" + std::string(name) + ")";
}

constexpr std::uint64_t kEventDrop = 1, kEventPolicyVerdict = 5;

std::string type_text(const json& flow) {
  const json& event = member(flow, "event_type");
  switch (number_of(event, "type")) {
    case kEventDrop: {
      const json& own = member(member(flow, "extensions"), "value");
      return text_of(own, "drop_text") + " (" + text_of(own, "drop_reason") + ")";
    }
    case kEventPolicyVerdict: {
      static constexpr std::array<const char*, 7> kMatches{"none", "L3-Only",  "L3-L4",     "L4-Only",
                                                           "all",  "L3-Proto", "Proto-Only"};
      const std::uint64_t match = number_of(flow, "policy_match_type");
      return std::string("policy-verdict:") + (match < kMatches.size() ? kMatches[match] : "unknown") + " " +
             text_of(flow, "traffic_direction");
    }
    default: {
      std::string point = text_of(flow, "trace_observation_point");
      absl::AsciiStrToLower(&point);
      std::replace(point.begin(), point.end(), '_', '-');
      return point;
    }
  }
}

std::string verdict_text(const json& flow) {
  const std::string verdict = text_of(flow, "verdict");
  if (number_of(member(flow, "event_type"), "type") == kEventPolicyVerdict) {
    return verdict == "DROPPED" ? "DENIED" : verdict == "AUDIT" ? "AUDITED" : "ALLOWED";
  }
  return verdict;
}

// "[shop/allow-web]": the policies that decided.
std::string policy_text(const json& flow) {
  std::string text;
  for (const char* key : {"egress_denied_by", "ingress_denied_by", "egress_allowed_by", "ingress_allowed_by"}) {
    const auto list = flow.find(key);
    if (list == flow.end() || !list->is_array()) {
      continue;
    }
    for (const json& policy : *list) {
      if (policy.is_object()) {
        const std::string ns = text_of(policy, "namespace");
        text += (text.empty() ? " [" : ", ") + (ns.empty() ? "" : ns + "/") + text_of(policy, "name");
      }
    }
  }
  return text.empty() ? text : text + "]";
}

// " alias 10.244.1.7=10.101.1.7" for each end that the rest of the fleet knows by an alias.
std::string aliases_text(const json& flow) {
  std::string text;
  const json& own = member(member(flow, "extensions"), "value");
  for (const char* end : {"source", "destination"}) {
    if (const json& forms = member(own, end); !forms.empty()) {
      text += " alias " + text_of(forms, "own") + "=" + text_of(forms, "alias");
    }
  }
  return text;
}

}  // namespace

Status check_flows_answer(std::string_view line) {
  return check_answer(json::parse(line, nullptr, /*allow_exceptions=*/false));
}

std::string compact_flow(std::string_view line) {
  const json document = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) {
    return "(a line that cannot be parsed)\n";
  }
  const std::string time = short_time(text_of(document, "time"));
  if (const json& lost = member(document, "lost_events"); !lost.empty()) {
    return printable(time + ": EVENTS LOST: " + text_of(lost, "source") + " " + text_of(lost, "num_events_lost")) +
           "\n";
  }
  const json& flow = member(document, "flow");
  const std::string node = text_of(document, "node_name"), own_cluster = node.substr(0, node.find('/'));
  std::string from = party_text(flow, "source", "source_port", own_cluster) + " " + identity_text(flow, "source");
  std::string to =
      party_text(flow, "destination", "destination_port", own_cluster) + " " + identity_text(flow, "destination");
  const char* arrow = "<>";
  if (const auto reply = flow.find("is_reply"); reply != flow.end() && reply->is_boolean()) {
    arrow = reply->get<bool>() ? "<-" : "->";
    if (reply->get<bool>()) {
      std::swap(from, to);
    }
  }
  return printable(time + ": " + from + " " + arrow + " " + to + " " + type_text(flow) + " " + verdict_text(flow) +
                   policy_text(flow) + " (" + text_of(flow, "Summary") + ")" + aliases_text(flow)) +
         "\n";
}

}  // namespace isthmus
