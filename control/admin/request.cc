#include "control/admin/request.h"

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

namespace isthmus {
namespace {

using nlohmann::json;

struct CommandName {
  AdminCommand command;
  std::string_view name;
};
constexpr std::array<CommandName, 8> kCommands{{{AdminCommand::kStatus, "status"},
                                                {AdminCommand::kServices, "services"},
                                                {AdminCommand::kEndpoints, "endpoints"},
                                                {AdminCommand::kConnections, "connections"},
                                                {AdminCommand::kFlows, "flows"},
                                                {AdminCommand::kDrops, "drops"},
                                                {AdminCommand::kPolicy, "policy"},
                                                {AdminCommand::kDrain, "drain"}}};

Error bad(std::string what) { return Error{std::move(what), "admin request", R"(ask as in {"command": "status"})"}; }

Result<AdminCommand> command_of(const json& value) {
  if (value.is_string()) {
    for (const auto& known : kCommands) {
      if (value.get_ref<const std::string&>() == known.name) {
        return known.command;
      }
    }
  }
  std::string names;
  for (const auto& known : kCommands) {
    names += (names.empty() ? "" : ", ") + std::string(known.name);
  }
  return Error{"unknown command", "admin request", "one of " + names};
}

// {"pod": ["shop/web"], ...}; the observer checks names and values.
Status read_filters(const json& value, FlowQuery& query) {
  for (const auto& [name, values] : value.items()) {
    if (!values.is_array()) {
      return bad("a filter is not a list of texts");
    }
    for (const json& one : values) {
      if (!one.is_string()) {
        return bad("a filter is not a list of texts");
      }
      query.filters[name].push_back(one.get<std::string>());
    }
  }
  return Ok{};
}

Status read_flow_member(const std::string& key, const json& value, FlowQuery& query) {
  if (key == "follow" && value.is_boolean()) {
    query.follow = value.get<bool>();
    return Ok{};
  }
  if (key == "since" && value.is_string()) {
    query.since = value.get<std::string>();
    return Ok{};
  }
  if (key == "filters" && value.is_object()) {
    return read_filters(value, query);
  }
  if (key == "last" && value.is_number_unsigned() && value.get<std::uint64_t>() <= kMaxLastFlows) {
    query.last = value.get<unsigned>();
    return Ok{};
  }
  return bad("a member is unknown or of the wrong type; flows takes follow, last (0 to " +
             std::to_string(kMaxLastFlows) + "), since, filters");
}

Status read_member(const std::string& key, const json& value, AdminRequest& request) {
  if (key == "command") {
    return Ok{};
  }
  if (key == "service" && value.is_string()) {
    request.service = value.get<std::string>();
    return Ok{};
  }
  if (key == "cluster" && value.is_string()) {
    request.cluster = value.get<std::string>();
    return Ok{};
  }
  for (const auto& [name, text] : {std::pair{"endpoint", &request.endpoint}, std::pair{"from", &request.from},
                                   std::pair{"to", &request.to}, std::pair{"port", &request.port}}) {
    if (key == name && value.is_string()) {
      *text = value.get<std::string>();
      return Ok{};
    }
  }
  if (key == "namespace" && value.is_string()) {
    request.ns = value.get<std::string>();
    return Ok{};
  }
  if (key == "label" && value.is_string()) {
    request.label = value.get<std::string>();
    return Ok{};
  }
  if (key == "undo" && value.is_boolean()) {
    request.undo = value.get<bool>();
    return Ok{};
  }
  if (key == "identity" && value.is_number_unsigned() && value.get<std::uint64_t>() <= 0xffffffff) {
    request.identity = Identity{value.get<std::uint32_t>()};
    return Ok{};
  }
  if (key == "address" && value.is_string()) {
    request.address = IpAddress::parse(value.get_ref<const std::string&>());
    return request.address ? Status(Ok{}) : Status(bad("'address' is not an IP address"));
  }
  if (key == "limit" && value.is_number_unsigned()) {
    const auto limit = value.get<std::uint64_t>();
    if (limit < 1 || limit > kMaxRows) {
      return bad("'limit' is not in 1.." + std::to_string(kMaxRows));
    }
    request.limit = static_cast<unsigned>(limit);
    return Ok{};
  }
  return bad(
      "a member is unknown or of the wrong type; known are command, service, cluster, namespace, identity, "
      "label, address, limit, endpoint, from, to, port, undo");
}

void add_flow_members(const FlowQuery& query, json& document) {
  document["follow"] = query.follow;
  if (query.last) {
    document["last"] = *query.last;
  }
  if (!query.since.empty()) {
    document["since"] = query.since;
  }
  for (const auto& [name, values] : query.filters) {
    if (!values.empty()) {
      document["filters"][name] = values;
    }
  }
}

}  // namespace

Result<AdminRequest> parse_request(std::string_view line) {
  const json document = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded()) {
    return bad("not JSON");
  }
  if (!document.is_object()) {
    return bad("not a JSON object");
  }
  const auto command = document.find("command");
  if (command == document.end()) {
    return bad("no 'command'");
  }
  auto known = command_of(*command);
  if (!known) {
    return known.error();
  }
  AdminRequest request;
  request.command = *known;
  for (const auto& [key, value] : document.items()) {
    const bool of_flows = request.command == AdminCommand::kFlows && key != "command";
    if (auto status = of_flows ? read_flow_member(key, value, request.flows) : read_member(key, value, request);
        !status) {
      return status.error();
    }
  }
  return request;
}

std::string encode_request(const AdminRequest& request) {
  json document;
  for (const auto& known : kCommands) {
    if (known.command == request.command) {
      document["command"] = known.name;
    }
  }
  if (request.command == AdminCommand::kFlows) {
    add_flow_members(request.flows, document);
    return document.dump(-1, ' ', false, json::error_handler_t::replace);
  }
  if (request.undo) {
    document["undo"] = true;
  }
  if (!request.service.empty()) {
    document["service"] = request.service;
  }
  if (!request.cluster.empty()) {
    document["cluster"] = request.cluster;
  }
  if (!request.ns.empty()) {
    document["namespace"] = request.ns;
  }
  if (request.identity) {
    document["identity"] = request.identity->value();
  }
  if (!request.label.empty()) {
    document["label"] = request.label;
  }
  if (request.address) {
    document["address"] = request.address->to_string();
  }
  for (const auto& [name, text] : {std::pair{"endpoint", &request.endpoint}, std::pair{"from", &request.from},
                                   std::pair{"to", &request.to}, std::pair{"port", &request.port}}) {
    if (!text->empty()) {
      document[name] = *text;
    }
  }
  document["limit"] = request.limit;
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace isthmus
