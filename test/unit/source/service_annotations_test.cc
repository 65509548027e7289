// Annotations of ours that say how a Service's VIPs behave.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace isthmus
