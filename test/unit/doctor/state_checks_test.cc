#include "dataplane/api/engine.h"
#include "test/unit/doctor/check_rows.h"

namespace isthmus::test {
namespace {

void let_run(Facts& facts, bool answers, std::uint64_t problems) {
  facts.admin.listens = true;
  facts.admin.answers = answers;
  facts.admin.state = "serving";
  facts.admin.problems = problems;
}

const std::vector<CheckRow> kStateRows = {
    {"connection-table", Level::kFails, [](Facts& f) { f.state.free = std::uint64_t{64} << 20; }, "64 MiB",
     "engine.connections: 131072"},
    {"connection-table", Level::kOk,
     [](Facts& f) {
       f.state.free = 0;
       f.state.table = Engine::state_bytes(f.config->connections);
     },
     "262144 connections", ""},
    {"connection-table", Level::kFails, [](Facts& f) { f.state.directory = false; }, "/dev/shm", "mkdir"},
    {"connection-table", Level::kFails, [](Facts& f) { f.memory.available = 1 << 20; }, "1 MiB of memory", "lower"},
    {"connection-table", Level::kFails, [](Facts& f) { f.memory.limit = std::uint64_t{128} << 20; },
     "limits memory to 128 MiB", "MemoryMax"},
    {"connection-table", Level::kOk, [](Facts& f) { f.memory.limit = std::uint64_t{512} << 20; }, "262144 connections",
     ""},
    {"connection-table", Level::kNote, [](Facts& f) { f.state.directory_writable = false; }, "may not write",
     "gateway's user"},
    {"last-known", Level::kNote, [](Facts& f) { f.config->last_known_age_ms = 0; }, "is 0", "24h"},
    {"last-known", Level::kSlow, [](Facts& f) { f.state.known_writable = false; }, "cannot be written",
     "StateDirectory"},
    {"last-known", Level::kNote,
     [](Facts& f) {
       f.state.known_writable = false;
       f.process.root = false;
     },
     "cannot be seen", "as root"},
    {"last-known", Level::kSlow, [](Facts& f) { f.state.known_free = 3 << 20; }, "room for 3 MiB", "make room"},
    {"last-known", Level::kNote, [](Facts& f) { f.state.known_age_seconds = 50 * 3600; }, "50 hours old", "start"},
    {"last-known", Level::kOk, [](Facts& f) { f.state.known_age_seconds = 120; }, "2 minutes ago", ""},
    {"admin-socket", Level::kFails, [](Facts& f) { f.admin.group = false; }, "no group root", "groupadd"},
    {"admin-socket", Level::kFails, [](Facts& f) { f.admin.folder_writable = false; }, "/run/isthmus",
     "RuntimeDirectory"},
    {"admin-socket", Level::kNote,
     [](Facts& f) {
       f.admin.folder_writable = false;
       f.process.root = false;
     },
     "may not write", "gateway's user"},
    {"gateway", Level::kNote, [](Facts& f) { let_run(f, false, 0); }, "does not answer", "isthmus status"},
    {"gateway", Level::kSlow, [](Facts& f) { let_run(f, true, 2); }, "2 problems", "isthmus status"},
    {"gateway", Level::kOk, [](Facts& f) { let_run(f, true, 0); }, "state serving", ""},
};

TEST(StateChecks, EachConditionIsSaidWithItsFix) {
  expect_rows({"connection-table", "last-known", "admin-socket", "gateway"}, kStateRows);
}

}  // namespace
}  // namespace isthmus::test
