#include "control/cli/views.h"

#include <map>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "control/cli/counter_view.h"
#include "control/cli/hub_view.h"
#include "control/cli/json_members.h"
#include "control/cli/policy_views.h"
#include "control/cli/table.h"

namespace isthmus {
namespace {

using namespace json_members;

// The strings of a list, joined by spaces.
std::string texts_of(const json& object, const char* key) {
  std::string all;
  const auto it = object.find(key);
  if (it != object.end() && it->is_array()) {
    for (const json& text : *it) {
      all += (all.empty() || !text.is_string() ? "" : " ") + (text.is_string() ? text.get<std::string>() : "");
    }
  }
  return all;
}

std::string indent(const std::string& text) {
  std::string result;
  std::size_t start = 0;
  while (start < text.size()) {
    const std::size_t end = text.find('\n', start);
    result += "  " + text.substr(start, end - start) + '\n';
    start = end == std::string::npos ? text.size() : end + 1;
  }
  return result;
}

std::string lost_events(const json& flows) {
  return number_of(flows, "control_events_lost") == 0
             ? ""
             : "; " + count_of(flows, "control_events_lost") + " events of workers lost";
}

// The memory of the connection table.
std::string pages_text(const json& connections) {
  constexpr std::uint64_t kMebibyte = 1024 * 1024;
  const std::uint64_t bytes = number_of(connections, "bytes"), huge = number_of(connections, "huge_page_bytes");
  if (bytes == 0) {
    return "";
  }
  return "; " + std::to_string(bytes / kMebibyte) + " MiB, " + std::to_string(100 * huge / bytes) +
         " % of it on huge pages";
}

std::string start_text(const json& connections) {
  const std::string reason = text_of(connections, "start_reason");
  if (reason.empty()) {
    return "";
  }
  return (text_of(connections, "start") == "not_kept" ? "; not kept across a restart: "
                                                      : "; the earlier table was discarded: ") +
         reason;
}

// Empty where nothing is handed down.
std::string handed_down_text(const json& s) {
  const json& down = member(s, "handed_down");
  if (number_of(down, "capacity") == 0) {
    return "";
  }
  std::uint64_t packets = 0;
  for (const json* device : list_of(s, "devices")) {
    packets += number_of(member(*device, "forwarded_in_kernel"), "packets");
  }
  const std::string one_way =
      number_of(down, "one_way") == 0 ? "" : " (" + count_of(down, "one_way") + " of them in one direction)";
  return count_of(down, "now") + " of at most " + count_of(down, "capacity") + " connections forwarded by XDP" +
         one_way + ", " + std::to_string(packets) + " packets since its start";
}

std::string status_facts(const json& s) {
  const json& connections = member(s, "connections");
  const json& packets = member(s, "packets");
  const json& hub = member(s, "hub");
  const json& tunnel = member(s, "tunnel");
  std::string text;
  add_fact(text, "gateway",
           text_of(s, "name") + " of cluster " + text_of(s, "cluster") + " (id " + count_of(s, "cluster_id") +
               "), isthmus " + text_of(s, "version"));
  add_fact(text, "state",
           text_of(s, "state") + ", up " + duration_text(number_of(s, "uptime_ms")) + ", pid " + count_of(s, "pid"));
  add_fact(text, "config", text_of(s, "config_file"));
  add_fact(text, "hub",
           text_of(hub, "source") + (is_set(hub, "synced") ? ", in sync" : ", not in sync yet") +
               (list_of(hub, "restored").empty() ? "" : "; restored, see status --hub"));
  std::string ends;
  for (const json* end : list_of(tunnel, "ends")) {
    ends += (ends.empty() ? "" : ", ") + endpoint_text(text_of(*end, "address"), number_of(*end, "port"));
  }
  add_fact(text, "tunnel", ends.empty() ? "" : ends + ", " + text_of(tunnel, "encapsulation"));
  std::string aliases;
  for (const json* alias : list_of(s, "aliases")) {
    aliases += (aliases.empty() ? "" : "; ") + text_of(*alias, "own") + " of " + text_of(*alias, "cluster") + " is " +
               text_of(*alias, "alias");
  }
  add_fact(text, "aliases", aliases);
  add_fact(text, "tables",
           count_of(s, "services") + " services, " + count_of(s, "frontends") + " frontends, " +
               count_of(s, "endpoints") + " endpoints");
  add_fact(text, "connections",
           count_of(connections, "now") + " of " + count_of(connections, "capacity") + " (" +
               count_of(connections, "half_open") + " half-open, " + count_of(connections, "half_open_evicted") +
               " of them made room), " + count_of(connections, "created") + " created, " +
               count_of(connections, "adopted") + " adopted at start" + pages_text(connections) +
               start_text(connections));
  add_fact(text, "packets",
           count_of(packets, "rx") + " received, " + count_of(packets, "tx") + " sent, " +
               count_of(packets, "encapsulated") + " encapsulated, " + count_of(packets, "decapsulated") +
               " decapsulated, " + count_of(packets, "dropped") + " dropped, " + count_of(packets, "lost_at_devices") +
               " lost at devices");
  add_fact(text, "handed down", handed_down_text(s));
  const json& flows = member(s, "flows");
  add_fact(text, "flows",
           count_of(flows, "seen") + " seen, " + count_of(flows, "unseen") + " sampled out or lost, last " +
               count_of(flows, "kept") + " of at most " + count_of(flows, "capacity") + " kept" + lost_events(flows));
  return text;
}

std::string device_table(const json& s) {
  Table table{{"NAME"},
              {"SIDE"},
              {"STATE"},
              {"MODE"},
              {"RX", Align::kRight},
              {"TX", Align::kRight},
              {"TX FULL", Align::kRight},
              {"LOST", Align::kRight}};
  for (const json* d : list_of(s, "devices")) {
    table.add({text_of(*d, "name"), text_of(*d, "side"), is_set(*d, "up") ? "up" : "down", text_of(*d, "mode"),
               count_of(*d, "rx_packets"), count_of(*d, "tx_packets"), count_of(*d, "tx_full"), count_of(*d, "lost")});
  }
  return table.empty() ? "" : "\ndevices\n" + indent(table.text());
}

// Of packets in the peer's tunnel; with what has shown it, where it is less than the underlay device's.
std::string mtu_text(const json& peer) {
  const std::string source = is_set(peer, "path_black_hole") ? "black hole" : text_of(peer, "path_mtu_source");
  const std::uint64_t mtu = number_of(peer, "inner_mtu");
  return mtu == 0 ? "-" : std::to_string(mtu) + (source == "device" ? "" : " (" + source + ")");
}

std::string peer_table(const json& s) {
  Table table{{"CLUSTER"},
              {"PEER"},
              {"ADDRESS"},
              {"KIND"},
              {"HEALTH"},
              {"LAST ANSWER", Align::kRight},
              {"ROUND TRIP", Align::kRight},
              {"MTU", Align::kRight},
              {"NEXT HOP"}};
  for (const json* p : list_of(s, "peers")) {
    const bool answered = p->contains("last_answer_ms") && (*p)["last_answer_ms"].is_number_unsigned();
    const std::uint64_t round_trip = number_of(*p, "round_trip_us");
    table.add({text_of(*p, "cluster"), or_dash(text_of(*p, "name")),
               endpoint_text(text_of(*p, "address"), number_of(*p, "port")), is_set(*p, "gateway") ? "gateway" : "node",
               or_dash(text_of(*p, "health")),
               answered ? duration_text(number_of(*p, "last_answer_ms")) + " ago" : std::string("-"),
               round_trip == 0 ? std::string("-") : std::to_string(round_trip) + "us", mtu_text(*p),
               is_set(*p, "next_hop_resolved") ? "resolved" : "unresolved"});
  }
  if (table.empty()) {
    return "\npeers: none\n";
  }
  const char* warning =
      is_set(s, "isolated")
          ? "  all peers became unreachable at once: this gateway's own link is suspected, all of them stay in use\n"
          : "";
  return "\npeers\n" + indent(table.text()) + warning;
}

std::string problem_list(const json& s) {
  const auto problems = list_of(s, "problems");
  if (problems.empty()) {
    return "\nproblems: none\n";
  }
  std::string text = "\nproblems (" + std::to_string(problems.size()) + ")\n";
  for (const json* p : problems) {
    const std::string where = text_of(*p, "where"), fix = text_of(*p, "fix");
    text += "  " + printable((where.empty() ? "" : where + ": ") + text_of(*p, "what")) + "\n";
    text += "      " +
            printable("for " + duration_text(number_of(*p, "since_ms")) + (fix.empty() ? "" : "; fix: " + fix)) + "\n";
  }
  return text;
}

std::string status_view(const json& s) { return status_facts(s) + device_table(s) + peer_table(s) + problem_list(s); }

std::string truncation_note(const json& content, std::size_t shown) {
  if (!is_set(content, "truncated")) {
    return "";
  }
  return "(only the first " + std::to_string(shown) + ": raise --limit or narrow with a filter)\n";
}

std::string frontend_text(const json& f) {
  return endpoint_text(text_of(f, "vip"), number_of(f, "port")) + "/" + text_of(f, "protocol");
}

std::string listed(const json& names) {
  std::string text;
  for (const json& name : names) {
    text.append(text.empty() ? "" : ", ").append(name.is_string() ? name.get<std::string>() : "?");
  }
  return text;
}

std::string drain_view(const json& content) {
  if (!content.value("draining", false)) {
    return "serving: peers send here again after their next probe\n";
  }
  const auto others = content.find("others");
  if (others == content.end() || !others->is_array()) {
    return "draining: peers send elsewhere, and what still comes is forwarded\n";
  }
  if (others->empty()) {
    return "draining, but its cluster has no other gateway: peers go on sending to it, but for new connections\n"
           "to services that have backends elsewhere; what comes is forwarded until it ends\n";
  }
  if (const auto staying = content.find("staying"); staying != content.end() && !staying->empty()) {
    return "draining, but no other gateway of its cluster (" + listed(*others) + ") serves " + listed(*staying) +
           ":\nwhat they send goes on coming, and is forwarded until it ends\n";
  }
  if (others->size() > 1 || !content.value("elsewhere", false)) {
    return "draining: peers send to those of " + listed(*others) +
           " that answer them, and what still comes is forwarded\n";
  }
  return "draining: peers send to " + listed(*others) + ", and what still comes is forwarded\n";
}

// "3 active, 1 draining"
std::string counts_text(const std::map<std::string, unsigned>& states) {
  std::string text;
  for (const auto& [state, count] : states) {
    text.append(text.empty() ? "" : ", ").append(std::to_string(count)).append(" ").append(state);
  }
  return text;
}

struct ClusterCounts {
  std::map<std::string, unsigned> states;
  std::uint64_t slots = 0;
};

// Share of new flows, in percent.
std::string share_text(std::uint64_t slots, std::uint64_t ring) {
  return ring == 0 ? "-" : std::to_string((slots * 100 + ring / 2) / ring) + "%";
}

// "active", "active, starting at 33%", "ejected for 25s".
std::string backend_state_text(const json& backend) {
  const std::uint64_t percent = number_of(backend, "weight_percent");
  const bool starts = percent != 0 && percent < 100;  // gateways without slow start say nothing
  const std::string left =
      backend.contains("ejected_seconds") ? " for " + duration_text(number_of(backend, "ejected_seconds") * 1000) : "";
  return text_of(backend, "state") + left + (starts ? ", starting at " + std::to_string(percent) + "%" : "");
}

// The frontend, how long its clients keep their backend, and whom it serves from where.
std::string frontend_with_rules(const json& f) {
  std::string text = frontend_text(f);
  if (text_of(f, "session_affinity") == "ClientIP") {
    text += " ClientIP " + duration_text(number_of(f, "session_affinity_seconds") * 1000);
  }
  if (const std::string ranges = texts_of(f, "source_ranges"); !ranges.empty()) {
    text += (text_of(f, "source_ranges_policy") == "deny" ? " not from " : " from ") + ranges;
  }
  for (const char* kind : {"internal", "external"}) {
    if (text_of(f, (std::string(kind) + "_traffic_policy").c_str()) == "Local") {
      text += std::string(" ") + kind + " Local";
    }
  }
  return text;
}

std::string services_view(const json& content, bool each_backend) {
  Table table = each_backend
                    ? Table{{"SERVICE"}, {"FRONTEND"}, {"CLUSTER"}, {"BACKEND"}, {"STATE"}, {"SHARE", Align::kRight}}
                    : Table{{"SERVICE"}, {"FRONTEND"}, {"CLUSTER"}, {"BACKENDS"}, {"SHARE", Align::kRight}};
  const auto frontends = list_of(content, "frontends");
  for (const json* f : frontends) {
    const std::string service = text_of(*f, "service"), frontend = frontend_with_rules(*f);
    const auto backends = list_of(*f, "backends");
    const std::uint64_t ring = number_of(*f, "ring_slots");
    std::map<std::string, ClusterCounts> clusters;
    for (const json* b : backends) {
      ClusterCounts& counts = clusters[text_of(*b, "cluster")];
      ++counts.states[text_of(*b, "state")];
      counts.slots += number_of(*b, "slots");
      if (each_backend) {
        table.add({service, frontend, text_of(*b, "cluster"),
                   endpoint_text(text_of(*b, "address"), number_of(*b, "port")), backend_state_text(*b),
                   share_text(number_of(*b, "slots"), ring)});
      }
    }
    if (backends.empty()) {
      table.add({service, frontend, "-", "none", each_backend ? "" : "-"});
    } else if (!each_backend) {
      for (const auto& [cluster, counts] : clusters) {
        table.add({service, frontend, cluster, counts_text(counts.states), share_text(counts.slots, ring)});
      }
    }
  }
  if (table.empty()) {
    return "no global services\n";
  }
  return table.text() + truncation_note(content, frontends.size());
}

std::string endpoints_view(const json& content) {
  Table table{{"ADDRESS"}, {"CLUSTER"}, {"IDENTITY", Align::kRight}, {"NAME"}, {"NODE"}, {"LABELS"}};
  const auto rows = list_of(content, "endpoints");
  for (const json* e : rows) {
    const std::string address = text_of(*e, "address"), own = text_of(*e, "own_address");
    table.add({own == address ? address : address + " (own " + own + ")", text_of(*e, "cluster"),
               count_of(*e, "identity"), or_dash(text_of(*e, "name")), or_dash(text_of(*e, "node")),
               or_dash(texts_of(*e, "labels"))});
  }
  return table.empty() ? "no endpoints\n" : table.text() + truncation_note(content, rows.size());
}

// Who forwards: both directions, or the client's packets and the replies.
std::string forwarder_text(const json& connection) {
  const bool there = is_set(connection, "forward_handed_down"), back = is_set(connection, "reply_handed_down");
  const std::string text = there ? "xdp" : "engine";
  return there == back ? text : text + (back ? "/xdp" : "/engine");
}

// "10.1.0.10:40000 (alias 10.101.0.10)", or with the address that it has in its own cluster.
std::string end_text(const json& connection, const std::string& end) {
  std::string text = endpoint_text(text_of(connection, end.c_str()), number_of(connection, (end + "_port").c_str()));
  for (const char* form : {"alias", "own"}) {
    const std::string other = text_of(connection, (end + "_" + form).c_str());
    text += other.empty() ? "" : " (" + std::string(form) + " " + other + ")";
  }
  return text;
}

std::string connections_view(const json& content) {
  Table table{{"PROTO"},
              {"CLIENT"},
              {"FRONTEND"},
              {"BACKEND"},
              {"SERVICE"},
              {"VIA"},
              {"STATE"},
              {"BY"},
              {"PACKETS", Align::kRight},
              {"REPLIES", Align::kRight},
              {"IDLE", Align::kRight}};
  const auto rows = list_of(content, "connections");
  for (const json* f : rows) {
    std::string via = text_of(*f, "forward_peer");
    if (via.empty()) {
      via = text_of(*f, "reply_peer");
    }
    table.add({text_of(*f, "protocol"), end_text(*f, "client"),
               endpoint_text(text_of(*f, "frontend"), number_of(*f, "frontend_port")), end_text(*f, "backend"),
               or_dash(text_of(*f, "service")), via.empty() ? std::string("local") : via, text_of(*f, "state"),
               forwarder_text(*f), count_of(*f, "forward_packets"), count_of(*f, "reply_packets"),
               duration_text(number_of(*f, "idle_seconds") * 1000)});
  }
  return table.empty() ? "no connections\n" : table.text() + truncation_note(content, rows.size());
}

struct Content {
  AdminCommand command;
  const char* key;
};
const char* key_of(AdminCommand command) {
  for (const Content c :
       {Content{AdminCommand::kStatus, "status"}, Content{AdminCommand::kServices, "services"},
        Content{AdminCommand::kEndpoints, "endpoints"}, Content{AdminCommand::kConnections, "connections"},
        Content{AdminCommand::kPolicy, "policy"}, Content{AdminCommand::kDrain, "drain"}}) {
    if (c.command == command) {
      return c.key;
    }
  }
  return "drops";
}

std::string view_of(AdminCommand command, const json& content, const ViewOptions& options) {
  switch (command) {
    case AdminCommand::kStatus:
      return options.hub ? hub_view(content) : options.counters ? counters_view(content) : status_view(content);
    case AdminCommand::kServices:
      return services_view(content, options.each_backend);
    case AdminCommand::kEndpoints:
      return endpoints_view(content);
    case AdminCommand::kConnections:
      return connections_view(content);
    case AdminCommand::kPolicy:
      return policy_view(content);
    case AdminCommand::kDrain:
      return drain_view(content);
    case AdminCommand::kFlows:  // a stream: flow_view.h
    case AdminCommand::kDrops:
      break;
  }
  return drops_view(content, options.all_drops);
}

}  // namespace

Result<std::string> show_answer(AdminCommand command, std::string_view answer, const ViewOptions& options) {
  const json document = json::parse(answer, nullptr, /*allow_exceptions=*/false);
  if (const Status good = check_answer(document); !good) {
    return good.error();
  }
  const auto content = document.find(key_of(command));
  if (content == document.end() || !content->is_object()) {
    return not_an_answer();
  }
  if (options.json) {
    return content->dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  }
  return view_of(command, *content, options);
}

}  // namespace isthmus
