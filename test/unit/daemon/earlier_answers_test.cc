// A gateway that only its answers keep, across a start anew within the process.
#include "control/daemon/earlier_answers.h"

#include <gtest/gtest.h>

#include "control/restore/intake.h"

namespace isthmus {
namespace {

TEST(EarlierAnswers, KeepWhatAnsweredUntilItWasProbedAgain) {
  Model model;
  IntakeOptions options;
  options.own = "east";
  Intake intake(options, {"etcd"}, model);
  const auto begin = Intake::Clock::now();
  const ObjectKey key{ObjectKind::kGateway, {}, {}, "west-1"};
  const auto answers = [](const std::string&) { return true; };
  const ClusterObject west{ClusterId{2}, {}, {}};
  const GatewayObject gateway{"west", *IpAddress::parse("192.0.2.2"), L4Port{8472}};
  (void)intake.take(0, {{{ObjectKind::kCluster, {}, {}, "west"}, west, {}}, {key, gateway, {}}}, answers, begin);
  (void)intake.take(0, {{key, std::nullopt, {}}}, answers, begin);
  ASSERT_NE(model.find<GatewayObject>(key).value, nullptr) << "it answers";

  EarlierAnswers earlier;
  const auto expire = [&](Intake::Clock::time_point now) {
    (void)intake.expire([&](const std::string& name) { return earlier.has(name, now); }, now);
    return model.find<GatewayObject>(key).value == nullptr;
  };
  earlier.set({"west-1"}, begin);
  EXPECT_FALSE(expire(begin + std::chrono::seconds(1))) << "nothing answers yet where all was started anew";
  EXPECT_FALSE(earlier.has("west-2", begin));
  EXPECT_TRUE(expire(begin + EarlierAnswers::kTime)) << "it had time to answer";
}

}  // namespace
}  // namespace isthmus
