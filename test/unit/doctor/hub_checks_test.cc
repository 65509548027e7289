#include "test/unit/doctor/check_rows.h"

namespace isthmus::test {
namespace {

void fail_hub(Facts& facts, const char* what) {
  facts.hubs[0].what = "etcd of west";
  facts.hubs[0].where = "https://192.0.2.9:2379";
  facts.hubs[0].error = Error{what, "x", "see to it"};
}

void add_certificate(Facts& facts, std::int64_t begins, std::int64_t ends, std::optional<bool> key = true) {
  facts.hubs[0].certificates = {{"certificate /c.crt", "", kNow + begins, kNow + ends, key}};
}

const std::vector<CheckRow> kHubRows = {
    {"hub", Level::kFails, [](Facts& f) { fail_hub(f, "connection refused"); },
     "etcd of west at https://192.0.2.9:2379: connection refused", "see to it"},
    {"hub", Level::kNote,
     [](Facts& f) {
       fail_hub(f, "cannot be read: Permission denied");
       f.process.root = false;
     },
     "Permission denied", "as root"},
    {"certificates", Level::kFails, [](Facts& f) { add_certificate(f, -10 * kDay, -2 * kDay); }, "expired 2 days ago",
     "renew"},
    {"certificates", Level::kFails, [](Facts& f) { add_certificate(f, kDay, 10 * kDay); }, "not valid yet, for 1 days",
     "clock"},
    {"certificates", Level::kFails, [](Facts& f) { add_certificate(f, -kDay, 90 * kDay, false); }, "key beside it",
     "one issue"},
    {"certificates", Level::kSlow, [](Facts& f) { add_certificate(f, -kDay, 3 * kDay); }, "expires in 3 days", "renew"},
    {"certificates", Level::kFails,
     [](Facts& f) {
       add_certificate(f, 0, 0);
       f.hubs[0].certificates[0].problem = "is not a certificate in PEM";
     },
     "not a certificate", "renew"},
    {"certificates", Level::kOk, [](Facts& f) { add_certificate(f, -kDay, 90 * kDay, std::nullopt); }, "for 90 days",
     ""},
};

TEST(HubChecks, EachConditionIsSaidWithItsFix) { expect_rows({"hub", "certificates"}, kHubRows); }

}  // namespace
}  // namespace isthmus::test
