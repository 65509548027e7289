// Requests of the admin socket: what is accepted, and that anything else is an error.
#include "control/admin/request.h"

#include <gtest/gtest.h>

#include <random>

namespace isthmus {
namespace {

TEST(AdminRequest, SurvivesItsOwnEncoding) {
  AdminRequest request;
  request.command = AdminCommand::kConnections;
  request.service = "shop/\"web\"";
  request.cluster = "east";
  request.address = IpAddress::parse("fd00::1");
  request.ns = "shop";
  request.identity = Identity{65636};
  request.label = "app=web";
  request.limit = 7;
  const auto back = parse_request(encode_request(request));
  ASSERT_TRUE(back.ok()) << back.error().text();
  EXPECT_EQ(back->command, AdminCommand::kConnections);
  EXPECT_EQ(back->service, request.service);
  EXPECT_EQ(back->cluster, "east");
  EXPECT_EQ(back->address, request.address);
  EXPECT_EQ(back->ns, "shop");
  EXPECT_EQ(back->identity, Identity{65636});
  EXPECT_EQ(back->label, "app=web");
  EXPECT_EQ(back->limit, 7u);
}

TEST(AdminRequest, PolicyRequestsSurviveToo) {
  AdminRequest request;
  request.command = AdminCommand::kPolicy;
  request.endpoint = "shop/cart-0";
  request.from = "app=web";
  request.to = "10.1.0.1";
  request.port = "80/tcp";
  const auto back = parse_request(encode_request(request));
  ASSERT_TRUE(back.ok()) << back.error().text();
  EXPECT_EQ(back->command, AdminCommand::kPolicy);
  EXPECT_EQ(back->endpoint, request.endpoint);
  EXPECT_EQ(back->from, request.from);
  EXPECT_EQ(back->to, request.to);
  EXPECT_EQ(back->port, request.port);
}

TEST(AdminRequest, AFlowQuerySurvivesItsOwnEncoding) {
  AdminRequest request;
  request.command = AdminCommand::kFlows;
  request.flows.follow = true;
  request.flows.last = 0;
  request.flows.since = "5m";
  request.flows.filters = {{"pod", {"shop/web", "a\"b"}}, {"port", {"80"}}, {"ip", {}}};
  const auto back = parse_request(encode_request(request));
  ASSERT_TRUE(back.ok()) << back.error().text();
  EXPECT_EQ(back->command, AdminCommand::kFlows);
  EXPECT_TRUE(back->flows.follow);
  EXPECT_EQ(back->flows.last, 0u);
  EXPECT_EQ(back->flows.since, "5m");
  request.flows.filters.erase("ip");
  EXPECT_EQ(back->flows.filters, request.flows.filters);
  for (const char* line :
       {R"({"command": "flows", "last": 65536})", R"({"command": "flows", "last": -1})",
        R"({"command": "flows", "follow": 1})", R"({"command": "flows", "filters": []})",
        R"({"command": "flows", "filters": {"pod": "web"}})", R"({"command": "flows", "filters": {"pod": [1]}})",
        R"({"command": "flows", "limit": 3})", R"({"command": "status", "follow": true})"}) {
    const auto wrong = parse_request(line);
    ASSERT_FALSE(wrong.ok()) << line;
    EXPECT_FALSE(wrong.error().fix.empty()) << line;
  }
}

TEST(AdminRequest, EveryErrorSaysWhatToDo) {
  for (const char* line :
       {"", "x", "[]", "{}", "1", "null", R"({"command": 3})", R"({"command": "reboot"})",
        R"({"command": "connections", "limit": 0})", R"({"command": "connections", "limit": -1})",
        R"({"command": "connections", "limit": 20001})", R"({"command": "connections", "limit": 1e30})",
        R"({"command": "connections", "address": "10.1"})", R"({"command": "connections", "surprise": true})",
        R"({"command": "connections"} trailing)"}) {
    const auto request = parse_request(line);
    ASSERT_FALSE(request.ok()) << line;
    EXPECT_FALSE(request.error().what.empty()) << line;
    EXPECT_FALSE(request.error().fix.empty()) << line;
  }
}

TEST(AdminRequest, RandomBytesNeverThrow) {
  std::mt19937 random(11);
  const std::string good = R"({"command":"connections","service":"a/b","address":"10.1.0.1","limit":20})";
  for (int round = 0; round < 20000; ++round) {
    std::string line;
    if (round % 2 == 0) {
      line = good;
      for (unsigned i = 0; i < 1 + random() % 4; ++i) {
        line[random() % line.size()] = static_cast<char>(random());
      }
    } else {
      line.resize(random() % 64);
      for (char& c : line) {
        c = static_cast<char>(random());
      }
    }
    const auto request = parse_request(line);
    EXPECT_TRUE(request.ok() || !request.error().what.empty());
  }
}

TEST(AdminRequest, DeepNestingIsAnErrorNotAStackOverflow) {
  EXPECT_FALSE(parse_request(std::string(60000, '[')).ok());
  EXPECT_FALSE(parse_request(std::string(30000, '[') + std::string(30000, ']')).ok());
  std::string objects;
  for (int i = 0; i < 10000; ++i) {
    objects += R"({"a":)";
  }
  EXPECT_FALSE(parse_request(objects + "1" + std::string(10000, '}')).ok());
}

}  // namespace
}  // namespace isthmus
