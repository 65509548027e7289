// Annotations of ours that say how a Service's VIPs behave.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "control/source/manifest/manifest.h"
#include "test/unit/source/manifest_text.h"

namespace isthmus {
namespace {

using namespace manifest_text;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr auto kAnnotatedService = "apiVersion: v1\nkind: Service\nmetadata:\n  name: cart\n  namespace: shop\n";

TEST(ServiceAnnotations, SayHowSlowlyTheirBackendsStart) {
  const auto window = [](const std::string& text) {
    return read_one<ServiceObject>("apiVersion: v1\nkind: Service\nmetadata: {name: cart, annotations: {" + text +
                                   "}}\nspec: {ports: [{port: 80}]}\n")
        .rules->slow_start;
  };
  EXPECT_EQ(window("note: x"), ServiceRules::kAsConfigured);
  EXPECT_EQ(window("isthmus.io/slow-start: 30s"), 30u);
  EXPECT_EQ(window("isthmus.io/slow-start: 2m"), 120u);
  EXPECT_EQ(window("isthmus.io/slow-start: 1500ms"), 2u) << "to the second";
  EXPECT_EQ(window("isthmus.io/slow-start: 0s"), 0u);
  for (const std::string wrong : {"30", "soon", "2h", "-1s", "99999999999999999999h", "30s ago"}) {
    const Manifest manifest = parse_manifest(
        std::string(kAnnotatedService) + "  annotations:\n    isthmus.io/slow-start: \"" + wrong + "\"\n", "east");
    EXPECT_THAT(errors_of(manifest), ElementsAre(HasSubstr("7: warning: annotation isthmus.io/slow-start is \"")));
    ASSERT_EQ(objects_of(manifest).size(), 1u) << wrong;
    EXPECT_EQ(std::get<ServiceObject>(*objects_of(manifest)[0].value).rules->slow_start, ServiceRules::kAsConfigured);
  }
}

TEST(ServiceAnnotations, SayWhenABackendIsAnOutlier) {
  const auto read = [](const std::string& text) {
    const ServiceRules rules =
        *read_one<ServiceObject>("apiVersion: v1\nkind: Service\nmetadata: {name: cart, annotations: {" + text +
                                 "}}\nspec: {ports: [{port: 80}]}\n")
             .rules;
    return std::array{rules.outlier_failures, rules.outlier_seconds, rules.outlier_percent};
  };
  constexpr std::uint32_t kAsConfigured = ServiceRules::kAsConfigured;
  EXPECT_THAT(read("note: x"), ElementsAre(kAsConfigured, kAsConfigured, kAsConfigured));
  EXPECT_THAT(read("isthmus.io/outlier-ejection: 'off'"), ElementsAre(0, kAsConfigured, kAsConfigured));
  EXPECT_THAT(read("isthmus.io/outlier-ejection: failures=5"), ElementsAre(5, kAsConfigured, kAsConfigured));
  EXPECT_THAT(read("isthmus.io/outlier-ejection: 'failures=5, time=1m, max_percent=30'"), ElementsAre(5, 60, 30));
  EXPECT_THAT(read("isthmus.io/outlier-ejection: 'max_percent=100,failures=1000,time=1500ms'"),
              ElementsAre(1000, 2, 100));
  for (const std::string wrong :
       {"", "on", "5", "time=30s", "failures=0", "failures=1001", "failures=-1", "failures=5x",
        "failures=", "failures=5, time=0s", "failures=5, time=2h", "failures=5, time=30", "failures=5, max_percent=0",
        "failures=5, max_percent=101", "failures=5, max_percent=50%", "failures=5, share=5", "off, failures=5",
        "failures=5 time=30s", "failures=5,, time=30s"}) {
    const Manifest manifest = parse_manifest(
        std::string(kAnnotatedService) + "  annotations:\n    isthmus.io/outlier-ejection: \"" + wrong + "\"\n",
        "east");
    EXPECT_THAT(errors_of(manifest), ElementsAre(HasSubstr("7: warning: annotation isthmus.io/outlier-ejection is \"")))
        << wrong;
    ASSERT_EQ(objects_of(manifest).size(), 1u) << wrong;
    EXPECT_EQ(std::get<ServiceObject>(*objects_of(manifest)[0].value).rules->outlier_failures, kAsConfigured) << wrong;
  }
}

}  // namespace
}  // namespace isthmus
