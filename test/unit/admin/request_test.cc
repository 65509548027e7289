// Requests of the admin socket: what is understood, and that nothing else does harm.
#include "control/admin/request.h"

#include <gtest/gtest.h>

#include <random>

namespace isthmus {
namespace {

TEST(AdminRequest, SurvivesItsOwnEncoding) {
  AdminRequest request;
  request.command = AdminCommand::kFlows;
  request.service = "shop/\"web\"";
  request.cluster = "east";
  request.address = IpAddress::parse("fd00::1");
  request.limit = 7;
  const auto back = parse_request(encode_request(request));
  ASSERT_TRUE(back.ok()) << back.error().text();
  EXPECT_EQ(back->command, AdminCommand::kFlows);
  EXPECT_EQ(back->service, request.service);
  EXPECT_EQ(back->cluster, "east");
  EXPECT_EQ(back->address, request.address);
  EXPECT_EQ(back->limit, 7u);
}

TEST(AdminRequest, QuestionsAboutPolicySurviveToo) {
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

TEST(AdminRequest, EveryErrorSaysWhatToDo) {
  for (const char* line : {"", "x", "[]", "{}", "1", "null", R"({"command": 3})", R"({"command": "reboot"})",
                           R"({"command": "flows", "limit": 0})", R"({"command": "flows", "limit": -1})",
                           R"({"command": "flows", "limit": 20001})", R"({"command": "flows", "limit": 1e30})",
                           R"({"command": "flows", "address": "10.1"})", R"({"command": "flows", "surprise": true})",
                           R"({"command": "flows"} trailing)"}) {
    const auto request = parse_request(line);
    ASSERT_FALSE(request.ok()) << line;
    EXPECT_FALSE(request.error().what.empty()) << line;
    EXPECT_FALSE(request.error().remedy.empty()) << line;
  }
}

TEST(AdminRequest, RandomBytesNeverThrow) {
  std::mt19937 random(11);
  const std::string good = R"({"command":"flows","service":"a/b","address":"10.1.0.1","limit":20})";
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
