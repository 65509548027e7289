// The pages of checks.
#include "control/daemon/checks.h"

#include <gtest/gtest.h>

namespace isthmus {
namespace {

const std::vector<HealthCheck> kPass{{"loop", ""}, {"workers", ""}};
const std::vector<HealthCheck> kFail{{"loop", ""}, {"workers", "worker 1 stands"}};

TEST(Checks, AllThatPassAreOneWordUnlessEachIsAskedFor) {
  EXPECT_EQ(checks_page("livez", kPass, "").body, "ok");
  const HttpPage page = checks_page("livez", kPass, "verbose");
  EXPECT_EQ(page.status, 200U);
  EXPECT_EQ(page.body, "[+]loop ok\n[+]workers ok\nlivez check passed\n");
}

TEST(Checks, OneThatFailsIsNamedWithItsReason) {
  const HttpPage page = checks_page("livez", kFail, "");
  EXPECT_EQ(page.status, 503U);
  EXPECT_EQ(page.body, "[+]loop ok\n[-]workers failed: worker 1 stands\nlivez check failed\n");
}

TEST(Checks, OneMayBeLeftOut) {
  EXPECT_EQ(checks_page("livez", kFail, "exclude=workers").status, 200U);
  EXPECT_EQ(checks_page("livez", kFail, "verbose&exclude=workers").body,
            "[+]loop ok\n[+]workers excluded: ok\nlivez check passed\n");
  EXPECT_EQ(checks_page("livez", kPass, "exclude=disk").body,
            "[+]loop ok\n[+]workers ok\nwarn: there is no check disk to exclude\nlivez check passed\n");
}

}  // namespace
}  // namespace isthmus
