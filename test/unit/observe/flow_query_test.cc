// Filters: what each passes, how they combine, and that an invalid value is an error with a fix.
#include "control/observe/flow_query.h"

#include <gtest/gtest.h>

#include <random>

#include "test/unit/observe/flow_builder.h"

namespace isthmus {
namespace {

using namespace flow_test;
using Filters = std::map<std::string, std::vector<std::string>, std::less<>>;

const std::vector<DropCount> kReasons{kDenied, {"no_live_backend", "", "", 158, 0, 0, 0}};

Result<FlowFilter> filter(const Filters& filters) {
  FlowQuery query;
  query.filters = filters;
  return make_flow_filter(query, kReasons);
}
bool passes(const Filters& filters, const Flow& flow = some_flow()) {
  const auto made = filter(filters);
  EXPECT_TRUE(made.ok()) << made.error().text();
  return made.ok() && (*made)(flow);
}

TEST(FlowFilter, EachPassesWhatItNames) {
  struct Row {
    const char *name, *passes, *stops;
  };
  for (const Row& row :
       {Row{"pod", "shop/web", "shop/cart"}, Row{"pod", "client", "prod/client"},
        Row{"from-pod", "shop/client-0", "web-0"}, Row{"to-pod", "web", "client"}, Row{"namespace", "shop", "sho"},
        Row{"cluster", "west", "north"}, Row{"identity", "65636", "65637"}, Row{"ip", "10.1.0.5", "10.1.0.6"},
        Row{"ip", "10.2.0.0/16", "10.3.0.0/16"}, Row{"port", "8080", "8081"}, Row{"protocol", "TCP", "udp"},
        Row{"verdict", "forwarded", "DROPPED"}}) {
    EXPECT_TRUE(passes({{row.name, {row.passes}}})) << row.name << " " << row.passes;
    EXPECT_FALSE(passes({{row.name, {row.stops}}})) << row.name << " " << row.stops;
  }
  EXPECT_TRUE(passes({{"ip", {"10.200.0.10"}}})) << "the VIP";
  EXPECT_TRUE(passes({{"port", {"80"}}})) << "the VIP's";
}

TEST(FlowFilter, ADropReasonHasOurNameAndCiliums) {
  for (const char* name : {"policy_denied", "POLICY_DENIED", "133"}) {
    EXPECT_TRUE(passes({{"drop-reason", {name}}}, some_drop())) << name;
    EXPECT_FALSE(passes({{"drop-reason", {name}}}, some_flow())) << name;
  }
  EXPECT_FALSE(passes({{"drop-reason", {"no_live_backend"}}}, some_drop()));
}

TEST(FlowFilter, ReservedIdentitiesHaveNames) {
  Flow flow = some_flow();
  flow.destination = party("192.0.2.77", 0, 2);
  EXPECT_TRUE(passes({{"identity", {"world"}}}, flow));
  EXPECT_FALSE(passes({{"identity", {"host"}}}, flow));
}

TEST(FlowFilter, ValuesAreAlternativesAndFiltersAreCombined) {
  EXPECT_TRUE(passes({}));
  EXPECT_TRUE(passes({{"port", {"1", "8080"}}}));
  EXPECT_TRUE(passes({{"port", {"8080"}}, {"cluster", {"north", "west"}}}));
  EXPECT_FALSE(passes({{"port", {"8080"}}, {"cluster", {"north"}}}));
}

TEST(FlowFilter, AnInvalidValueIsAnErrorWithAFix) {
  for (const auto& [name, value] : std::vector<std::pair<const char*, const char*>>{{"pod", ""},
                                                                                    {"identity", "me"},
                                                                                    {"identity", "4294967296"},
                                                                                    {"ip", "10.1"},
                                                                                    {"ip", "10.1.0.0/33"},
                                                                                    {"port", "0"},
                                                                                    {"port", "65536"},
                                                                                    {"port", "80 "},
                                                                                    {"protocol", "ip"},
                                                                                    {"verdict", "lost"},
                                                                                    {"drop-reason", "bad_luck"},
                                                                                    {"colour", "red"}}) {
    const auto made = filter({{name, {value}}});
    ASSERT_FALSE(made.ok()) << name << " " << value;
    EXPECT_FALSE(made.error().fix.empty()) << name;
    EXPECT_NE(made.error().text().find(name), std::string::npos) << made.error().text();
  }
}

TEST(FlowFilter, EveryNamedFilterExists) {
  for (const FlowFilterName& known : kFlowFilters) {
    const auto made = filter({{std::string(known.name), {""}}});
    ASSERT_FALSE(made.ok());
    EXPECT_EQ(made.error().what.find("there is no filter"), std::string::npos) << known.name;
  }
}

TEST(FlowFilter, RandomWordsNeverThrow) {
  std::mt19937 random(5);
  for (int round = 0; round < 20000; ++round) {
    std::string value(random() % 12, '\0');
    for (char& c : value) {
      c = round % 2 == 0 ? static_cast<char>(random()) : "0123456789abcdefghs./:-TZ+"[random() % 26];
    }
    FlowQuery query;
    query.filters[std::string(kFlowFilters[random() % kFlowFilters.size()].name)] = {value};
    query.since = value;
    const Status status = check_flow_query(query);
    EXPECT_TRUE(status.ok() || (!status.error().what.empty() && !status.error().fix.empty()));
  }
}

TEST(FlowSince, IsATimeOrATimeAgo) {
  constexpr std::int64_t kNow = 1'795'391'941'000'000'000, kSecond = 1'000'000'000;
  const auto since = [&](const char* text) { return parse_since(text, kNow); };
  EXPECT_EQ(*since("5m"), kNow - 300 * kSecond);
  EXPECT_EQ(*since("1h30m"), kNow - 5400 * kSecond);
  EXPECT_EQ(*since("250ms"), kNow - kSecond / 4);
  EXPECT_EQ(*since("2d"), kNow - 2 * 86400 * kSecond);
  EXPECT_EQ(*since("1970-01-01T00:00:10Z"), 10 * kSecond);
  EXPECT_EQ(*since("1970-01-01T00:00:10.5Z"), 10 * kSecond);
  EXPECT_EQ(*since("1970-01-01T01:00:10+01:00"), 10 * kSecond);
  for (const char* text : {"", "5", "m", "5 m", "-5m", "5y", "0s", "99999999999999999999h", "9999999999d", "yesterday",
                           "1970-01-01", "1970-01-01T00:00:10", "1970-01-01T00:00:10Zz", "1970-01-01T00:00:10+1"}) {
    const auto wrong = since(text);
    ASSERT_FALSE(wrong.ok()) << text;
    EXPECT_FALSE(wrong.error().fix.empty());
  }
}

}  // namespace
}  // namespace isthmus
