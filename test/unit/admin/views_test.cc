// The gateway's values, encoded as JSON and shown as text.
#include "control/cli/views.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "control/admin/replies.h"

namespace isthmus {
namespace {

using nlohmann::json;

IpAddress ip(const char* text) { return *IpAddress::parse(text); }

std::string shown(AdminCommand command, const std::string& answer, const ViewOptions& options = {}) {
  const auto text = show_answer(command, answer, options);
  EXPECT_TRUE(text.ok()) << (text.ok() ? "" : text.error().text());
  return text.ok() ? *text : std::string();
}

StatusReply some_status() {
  StatusReply status;
  status.name = "east-1";
  status.cluster = "east";
  status.cluster_id = ClusterId{1};
  status.version = "0.1.0";
  status.config_file = "/etc/isthmus/east-1.yaml";
  status.pid = 4711;
  status.uptime_ms = 192'000;
  status.state = "serving";
  status.hubs = {"file /var/lib/isthmus/hub"};
  status.synced = true;
  status.tunnel_addresses = {ip("192.0.2.1")};
  status.encapsulation = "vxlan";
  status.tunnel_port = L4Port{8472};
  status.counters.connections.now = 12;
  status.counters.connections.capacity = 262144;
  status.counters.drops = {{"no_live_backend", "Service without a usable backend", "isthmus services", 158, 3},
                           {"table_full", "Connection table full", "raise engine.connections", 155, 0}};
  PeerRow peer;
  peer.id = PeerId{1};
  peer.name = "west-1";
  peer.cluster = "west";
  peer.address = ip("198.51.100.1");
  peer.port = L4Port{8472};
  peer.gateway = true;
  peer.health = "alive";
  peer.last_answer_ms = 40;
  peer.round_trip_us = 310;
  peer.reachable = true;
  status.peers = {peer};
  DeviceRow device;
  device.side = "underlay";
  device.status.name = "eth0";
  device.status.description = "af_xdp native copy, 2 queues";
  device.status.counters.rx_packets = 100;
  status.devices = {device};
  status.problems = {
      {"hub/clusters/east/web.yaml:7", "the port is not a number", "write a number from 1 to 65535", 5000}};
  return status;
}

TEST(StatusView, ShowsWhatAnOperatorLooksFor) {
  const std::string text = shown(AdminCommand::kStatus, encode_status(some_status()));
  for (const char* part :
       {"east-1 of cluster east (id 1), isthmus 0.1.0", "serving, up 3m12s, pid 4711",
        "file /var/lib/isthmus/hub, in sync", "192.0.2.1:8472", "12 of 262144", "3 dropped",
        "af_xdp native copy, 2 queues", "west-1", "198.51.100.1:8472", "alive", "40ms ago", "310us",
        "hub/clusters/east/web.yaml:7: the port is not a number", "for 5s", "fix: write a number from 1 to 65535"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " is missing in\n" << text;
  }
}

TEST(StatusView, SaysWhyTheConnectionTableStartedEmpty) {
  StatusReply status = some_status();
  EXPECT_EQ(shown(AdminCommand::kStatus, encode_status(status)).find("table was discarded"), std::string::npos);
  status.counters.connections_start = StateStart::kDiscarded;
  status.counters.connections_start_reason = "capacity was 1024, is 2048";
  const std::string discarded = encode_status(status);
  EXPECT_NE(shown(AdminCommand::kStatus, discarded).find("the earlier table was discarded: capacity was 1024, is 2048"),
            std::string::npos);
  const json connections = json::parse(discarded)["status"]["connections"];
  EXPECT_EQ(connections["start"], "discarded");
  EXPECT_EQ(connections["start_reason"], "capacity was 1024, is 2048");
  status.counters.connections_start = StateStart::kNotKept;
  status.counters.connections_start_reason = "/dev/shm/isthmus belongs to user 1000";
  EXPECT_NE(shown(AdminCommand::kStatus, encode_status(status))
                .find("not kept across a restart: /dev/shm/isthmus belongs to user 1000"),
            std::string::npos);
}

TEST(StatusView, SaysSoWhenThereAreNoProblems) {
  StatusReply status = some_status();
  status.problems.clear();
  status.peers.clear();
  const std::string text = shown(AdminCommand::kStatus, encode_status(status));
  EXPECT_NE(text.find("problems: none"), std::string::npos) << text;
  EXPECT_NE(text.find("peers: none"), std::string::npos) << text;
}

TEST(HubView, ShowsTheStateOfEveryPartAndItsRefusedValues) {
  StatusReply status = some_status();
  HubState west;
  west.name = "west";
  west.server = "https://203.0.113.11:2379";
  west.sync = HubState::Sync::kStale;
  west.objects = 4000;
  west.events = 17;
  west.rejected = 2;
  west.retained = 12;
  west.connects = 3;
  west.last_error = "connection refused";
  west.invalid_keys = {"cilium/state/ip/v1/default/10.2.0.9: identity 65537 is not of cluster 2"};
  HubState north;
  north.name = "north";
  status.hub_parts = {{west, 12'000}, {north, std::nullopt}};
  status.synced = false;
  ViewOptions options;
  options.hub = true;
  EXPECT_EQ(
      shown(AdminCommand::kStatus, encode_status(status), options),
      "file /var/lib/isthmus/hub\n"
      "not in sync\n\n"
      "PART   STATE       SERVER                     OBJECTS  EVENTS  REFUSED  RETAINED  CONNECTS  LAST EVENT  "
      "LAST ERROR\n"
      "west   stale       https://203.0.113.11:2379     4000      17        2        12         3     12s ago  "
      "connection "
      "refused\n"
      "north  connecting  -                                0       0        0         0         0           -  -\n\n"
      "values refused at present\n"
      "  west: cilium/state/ip/v1/default/10.2.0.9: identity 65537 is not of cluster 2\n");
}

TEST(JsonView, IsTheContentWithoutTheEnvelope) {
  ViewOptions options;
  options.json = true;
  const json content = json::parse(shown(AdminCommand::kStatus, encode_status(some_status()), options));
  EXPECT_EQ(content["name"], "east-1");
  EXPECT_EQ(content["peers"][0]["last_answer_ms"], 40);
  EXPECT_EQ(content["problems"][0]["where"], "hub/clusters/east/web.yaml:7");
  EXPECT_EQ(content["packets"]["dropped"], 3);
}

Listing<FrontendRow> some_services() {
  FrontendRow web;
  web.service = "shop/web";
  web.vip = ip("10.200.0.10");
  web.port = L4Port{80};
  web.affinity = "none";
  web.ring_slots = 100;
  web.backends = {{"east", ip("10.1.0.5"), L4Port{8080}, "active", 34},
                  {"east", ip("10.1.0.6"), L4Port{8080}, "draining", 0},
                  {"west", ip("10.2.0.5"), L4Port{8081}, "active", 66}};
  FrontendRow empty;
  empty.service = "shop/db";
  empty.vip = ip("fd00:200::1");
  empty.protocol = IpProtocol::kUdp;
  empty.port = L4Port{53};
  return {{web, empty}, false};
}

TEST(ServicesView, CountsBackendsPerClusterAndState) {
  EXPECT_EQ(shown(AdminCommand::kServices, encode_services(some_services())),
            "SERVICE   FRONTEND              CLUSTER  BACKENDS              SHARE\n"
            "shop/web  10.200.0.10:80/tcp    east     1 active, 1 draining    34%\n"
            "shop/web  10.200.0.10:80/tcp    west     1 active                66%\n"
            "shop/db   [fd00:200::1]:53/udp  -        none                      -\n");
}

TEST(ServicesView, ListsEachBackendWhenAsked) {
  ViewOptions options;
  options.each_backend = true;
  EXPECT_EQ(shown(AdminCommand::kServices, encode_services(some_services()), options),
            "SERVICE   FRONTEND              CLUSTER  BACKEND        STATE     SHARE\n"
            "shop/web  10.200.0.10:80/tcp    east     10.1.0.5:8080  active      34%\n"
            "shop/web  10.200.0.10:80/tcp    east     10.1.0.6:8080  draining     0%\n"
            "shop/web  10.200.0.10:80/tcp    west     10.2.0.5:8081  active      66%\n"
            "shop/db   [fd00:200::1]:53/udp  -        none\n");
}

TEST(ServicesView, SaysWhoStartsSlowlyAndHowLongClientsKeepTheirBackend) {
  Listing<FrontendRow> services = some_services();
  services.rows.pop_back();
  services.rows[0].client_seconds = 10800;
  services.rows[0].backends[0].percent = 33;
  ViewOptions options;
  options.each_backend = true;
  const std::string reply = encode_services(services);
  EXPECT_EQ(shown(AdminCommand::kServices, reply, options),
            "SERVICE   FRONTEND                        CLUSTER  BACKEND        STATE                    SHARE\n"
            "shop/web  10.200.0.10:80/tcp ClientIP 3h  east     10.1.0.5:8080  active, starting at 33%    34%\n"
            "shop/web  10.200.0.10:80/tcp ClientIP 3h  east     10.1.0.6:8080  draining                    0%\n"
            "shop/web  10.200.0.10:80/tcp ClientIP 3h  west     10.2.0.5:8081  active                     66%\n");
  options.json = true;
  const json frontend = json::parse(shown(AdminCommand::kServices, reply, options))["frontends"][0];
  EXPECT_EQ(frontend["session_affinity"], "ClientIP");
  EXPECT_EQ(frontend["session_affinity_seconds"], 10800);
  EXPECT_EQ(frontend["backends"][0]["weight_percent"], 33);
}

TEST(ServicesView, SaysWhomAServiceServesFromWhere) {
  Listing<FrontendRow> services = some_services();
  services.rows.pop_back();
  services.rows[0].backends.resize(1);
  services.rows[0].source_ranges = {Prefix::parse("10.1.0.0/16").value(), Prefix::parse("fd00::/8").value()};
  services.rows[0].external_local = true;
  std::string reply = encode_services(services);
  EXPECT_THAT(shown(AdminCommand::kServices, reply, {}),
              testing::HasSubstr("shop/web  10.200.0.10:80/tcp from 10.1.0.0/16 fd00::/8 external Local  east "));
  ViewOptions options;
  options.json = true;
  const json frontend = json::parse(shown(AdminCommand::kServices, reply, options))["frontends"][0];
  EXPECT_EQ(frontend["source_ranges"], json({"10.1.0.0/16", "fd00::/8"}));
  EXPECT_EQ(frontend["source_ranges_policy"], "allow");
  EXPECT_EQ(frontend["internal_traffic_policy"], "Cluster");
  EXPECT_EQ(frontend["external_traffic_policy"], "Local");
  services.rows[0].ranges_denied = true;
  services.rows[0].external_local = false;
  services.rows[0].internal_local = true;
  reply = encode_services(services);
  EXPECT_THAT(shown(AdminCommand::kServices, reply, {}),
              testing::HasSubstr(" not from 10.1.0.0/16 fd00::/8 internal Local "));
}

TEST(ServicesView, SaysWhoIsLeftOutAndForHowLong) {
  Listing<FrontendRow> services = some_services();
  services.rows.pop_back();
  services.rows[0].backends[1].state = "ejected";
  services.rows[0].backends[1].ejected_seconds = 25;
  ViewOptions options;
  options.each_backend = true;
  const std::string reply = encode_services(services);
  EXPECT_EQ(shown(AdminCommand::kServices, reply, options),
            "SERVICE   FRONTEND            CLUSTER  BACKEND        STATE            SHARE\n"
            "shop/web  10.200.0.10:80/tcp  east     10.1.0.5:8080  active             34%\n"
            "shop/web  10.200.0.10:80/tcp  east     10.1.0.6:8080  ejected for 25s     0%\n"
            "shop/web  10.200.0.10:80/tcp  west     10.2.0.5:8081  active             66%\n");
  options.json = true;
  const json backends = json::parse(shown(AdminCommand::kServices, reply, options))["frontends"][0]["backends"];
  EXPECT_EQ(backends[1]["ejected_seconds"], 25);
  EXPECT_FALSE(backends[0].contains("ejected_seconds"));
  StatusReply status = some_status();
  status.ejected = 1;
  status.ejections = 4;
  options = {};
  options.json = true;
  const json all = json::parse(shown(AdminCommand::kStatus, encode_status(status), options));
  EXPECT_EQ(all["outliers"], (json{{"ejected", 1}, {"ejections", 4}}));
}

TEST(ServicesView, SaysWhenRowsWereLeftOut) {
  Listing<FrontendRow> services = some_services();
  services.truncated = true;
  const std::string text = shown(AdminCommand::kServices, encode_services(services));
  EXPECT_NE(text.find("only the first 2"), std::string::npos) << text;
}

TEST(FlowsView, ShowsClientFrontendBackendAndState) {
  ConnectionRow row;
  row.record.client = ip("10.1.0.5");
  row.record.client_port = L4Port{40000};
  row.record.frontend = ip("10.200.0.10");
  row.record.frontend_port = L4Port{80};
  row.record.backend = ip("10.2.0.5");
  row.record.backend_port = L4Port{8080};
  row.record.established = true;
  row.record.forward_packets = 5;
  row.record.reply_packets = 4;
  row.record.idle_seconds = 3;
  row.service = "shop/web";
  row.forward_peer = "west-1";
  EXPECT_EQ(shown(AdminCommand::kConnections, encode_connections({{row}, false})),
            "PROTO  CLIENT          FRONTEND        BACKEND        SERVICE   VIA     STATE        BY      PACKETS  "
            "REPLIES  IDLE\n"
            "tcp    10.1.0.5:40000  10.200.0.10:80  10.2.0.5:8080  shop/web  west-1  established  engine        5      "
            "  4    3s\n");
  const auto by = [&](bool there, bool back) {
    row.record.forward_handed_down = there;
    row.record.reply_handed_down = back;
    const std::string text = shown(AdminCommand::kConnections, encode_connections({{row}, false}));
    const std::size_t at = text.find("established  ") + 13;
    return text.substr(at, text.find(' ', at) - at);
  };
  EXPECT_EQ(by(true, true), "xdp");
  EXPECT_EQ(by(true, false), "xdp/engine");
  EXPECT_EQ(by(false, true), "engine/xdp");
}

TEST(FlowsView, ShowsBothAddressesOfEndsThatHaveAliases) {
  ConnectionRow row;
  row.record.client = ip("10.1.0.5");
  row.record.client_port = L4Port{40000};
  row.record.frontend = ip("10.102.0.5");
  row.record.backend = ip("10.102.0.5");
  row.record.backend_port = L4Port{8080};
  const json plain = json::parse(encode_connections({{row}, false}))["connections"]["connections"][0];
  for (const char* name : {"client_alias", "client_own", "backend_alias", "backend_own"}) {
    EXPECT_FALSE(plain.contains(name)) << name;
  }
  row.client_alias = ip("10.101.0.5");
  row.backend_own = ip("10.2.0.5");
  const std::string text = shown(AdminCommand::kConnections, encode_connections({{row}, false}));
  EXPECT_NE(text.find("10.1.0.5:40000 (alias 10.101.0.5)"), std::string::npos) << text;
  EXPECT_NE(text.find("10.102.0.5:8080 (own 10.2.0.5)"), std::string::npos) << text;
}

TEST(EndpointsView, ShowsIdentityAndName) {
  const EndpointRow web{
      ip("10.1.0.5"), ip("10.1.0.5"), "east", Identity{70000}, "shop/web-0", {"k8s:app=web", "k8s:env=x"}, "node-1"};
  EXPECT_EQ(shown(AdminCommand::kEndpoints, encode_endpoints({{web}, false})),
            "ADDRESS   CLUSTER  IDENTITY  NAME        NODE    LABELS\n"
            "10.1.0.5  east        70000  shop/web-0  node-1  k8s:app=web k8s:env=x\n");
}

TEST(DropsView, HidesReasonsAtZeroUnlessAsked) {
  const EngineCounters counters = some_status().counters;
  const std::string some = shown(AdminCommand::kDrops, encode_drops(counters, {}));
  EXPECT_NE(some.find("3  no_live_backend"), std::string::npos) << some;
  EXPECT_NE(some.find("isthmus services"), std::string::npos) << some;
  EXPECT_NE(some.find("158 SERVICE_BACKEND_NOT_FOUND"), std::string::npos) << some;
  EXPECT_EQ(some.find("table_full"), std::string::npos) << some;
  ViewOptions all;
  all.all_drops = true;
  EXPECT_NE(shown(AdminCommand::kDrops, encode_drops(counters, {}), all).find("table_full"), std::string::npos);
  EXPECT_EQ(shown(AdminCommand::kDrops, encode_drops(EngineCounters{}, {})), "no packets dropped\n");
}

TEST(ErrorReply, BecomesTheErrorItHolds) {
  const auto text = show_answer(AdminCommand::kStatus, encode_error({"what", "where", "fix"}), {});
  ASSERT_FALSE(text.ok());
  EXPECT_EQ(text.error().text(), "where: what (fix)");
}

TEST(AnyAnswer, IsShownOrRefusedButNeverThrows) {
  std::mt19937 random(3);
  const std::string good = encode_status(some_status());
  for (int round = 0; round < 3000; ++round) {
    std::string answer = good;
    for (unsigned i = 0; i < 1 + random() % 6; ++i) {
      answer[random() % answer.size()] = static_cast<char>(random());
    }
    const auto text = show_answer(static_cast<AdminCommand>(random() % 5), answer, {random() % 2 == 0, true, true});
    EXPECT_TRUE(text.ok() || !text.error().what.empty());
  }
  for (const char* answer : {"", "[]", "7", "{}", R"({"ok":true})", R"({"ok":true,"status":[]})",
                             R"({"ok":true,"status":{"peers":7,"devices":[1,"x",{}],"problems":[null]}})"}) {
    const auto text = show_answer(AdminCommand::kStatus, answer, {});
    EXPECT_TRUE(text.ok() || !text.error().what.empty()) << answer;
  }
}

TEST(Views, SayWherePeersSendWhileAGatewayIsDrained) {
  const auto said = [](const DrainReply& reply) { return shown(AdminCommand::kDrain, encode_drain(reply)); };
  using Names = std::vector<std::string>;
  EXPECT_EQ(said({true, Names{"east-2"}, {}, true}),
            "draining: peers send to east-2, and what still comes is forwarded\n");
  const std::string those = " that answer them, and what still comes is forwarded\n";
  EXPECT_EQ(said({true, Names{"east-2", "east-3"}, {}, true}),
            "draining: peers send to those of east-2, east-3" + those);
  EXPECT_EQ(said({true, Names{"east-2"}, {}, false}), "draining: peers send to those of east-2" + those)
      << "no peer has said that it answers";
  EXPECT_EQ(said({true, Names{"east-2"}, {"west-1", "north-1"}, true}),
            "draining, but no other gateway of its cluster (east-2) serves west-1, north-1:\n"
            "what they send goes on coming, and is forwarded until it ends\n");
  EXPECT_EQ(said({true, Names{}, {"west-1"}, false}).find("draining, but its cluster has no other gateway: "), 0U);
  EXPECT_EQ(said({true, std::nullopt, {}, false}),
            "draining: peers send elsewhere, and what still comes is forwarded\n");
  EXPECT_EQ(said({false, Names{"east-2"}, {}, true}), "serving: peers send here again after their next probe\n");
}

}  // namespace
}  // namespace isthmus
