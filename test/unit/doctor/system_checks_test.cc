#include "test/unit/doctor/check_rows.h"

namespace isthmus::test {
namespace {

using Keys = std::map<std::string, std::string>;

const std::vector<CheckRow> kSystemRows = {
    {"configuration", Level::kFails,
     [](Facts& f) {
       f.config.reset();
       f.config_errors = {{"gateway.name is missing", "g.yaml:1", "write a name"}};
     },
     "g.yaml:1: gateway.name is missing", "write a name"},
    {"configuration", Level::kNote, [](Facts& f) { f.config.reset(); }, "no configuration", "config init"},
    {"kernel", Level::kFails, [](Facts& f) { f.kernel.release = "5.4.0"; }, "Linux 5.4.0", "newer kernel"},
    {"kernel", Level::kSlow, [](Facts& f) { f.kernel.release = "5.15.0-1-azure"; }, "5.15", "newer kernel"},
    {"kernel", Level::kSlow,
     [](Facts& f) {
       f.kernel.release = "6.1.0";
       f.kernel.btf = false;
     },
     "without BTF", "newer kernel"},
    {"kernel", Level::kNote, [](Facts& f) { f.kernel.release = "6.1.0"; }, "6.1.0", "MTU of 3456"},
    {"kernel", Level::kNote, [](Facts& f) { f.kernel.release = "strange"; }, "strange", ""},
    {"kernel", Level::kFails, [](Facts& f) { f.kernel.af_xdp = Availability::kNo; }, "AF_XDP", "CONFIG_XDP_SOCKETS"},
    {"bpf-file-system", Level::kNote, [](Facts& f) { f.kernel.bpf_folder = false; }, "/sys/fs/bpf", "mount -t bpf"},
    {"bpf-file-system", Level::kFails,
     [](Facts& f) {
       f.kernel.bpf_folder = false;
       f.service = Keys{{"User", "isthmus"}};
     },
     "not a BPF file system", "mount -t bpf"},
    {"bpf-file-system", Level::kFails,
     [](Facts& f) {
       f.kernel.bpf_own_folder = Availability::kNo;
       f.service = Keys{{"User", "isthmus"}};
     },
     "/sys/fs/bpf/isthmus is missing", "systemd-tmpfiles --create"},
    {"bpf-file-system", Level::kOk,
     [](Facts& f) {
       f.kernel.bpf_folder = false;
       f.service = Keys{{"User", "isthmus"}};
       f.bpf_unit = true;
     },
     "isthmus-bpf.service", ""},
    {"capabilities", Level::kFails, [](Facts& f) { f.process.capabilities = 1U << 12; }, "CAP_NET_RAW, CAP_BPF",
     "CapabilityBoundingSet"},
    {"capabilities", Level::kNote,
     [](Facts& f) {
       f.process.root = false;
       f.process.capabilities = 0;
     },
     "ordinary user", "root"},
    {"capabilities", Level::kOk, [](Facts& f) { f.process.capabilities = 1U << 12 | 1U << 13 | 1U << 21; }, "needs",
     ""},
    {"memlock", Level::kFails,
     [](Facts& f) {
       f.process.memlock = std::uint64_t{8} << 20;
       f.process.capabilities = 1U << 12 | 1U << 13;
     },
     "8 MiB", "LimitMEMLOCK=infinity"},
    {"memlock", Level::kOk,
     [](Facts& f) {
       f.process.memlock = std::uint64_t{64} << 20;
       f.process.capabilities = 0;
     },
     "64 MiB", ""},
    {"service", Level::kFails,
     [](Facts& f) {
       f.service = Keys{{"User", "isthmus"}, {"LimitMEMLOCK", "infinity"}};
     },
     "CAP_NET_ADMIN", "AmbientCapabilities"},
    {"service", Level::kOk,
     [](Facts& f) {
       f.service = Keys{{"CapabilityBoundingSet", "~CAP_SYS_BOOT CAP_SYS_MODULE"}};
     },
     "without a watchdog", ""},
    {"service", Level::kFails,
     [](Facts& f) {
       f.service = Keys{{"CapabilityBoundingSet", "~CAP_NET_RAW"}, {"LimitMEMLOCK", "infinity"}};
     },
     "CAP_NET_RAW", "CapabilityBoundingSet"},
    {"service", Level::kFails,
     [](Facts& f) {
       f.service = Keys{{"CapabilityBoundingSet", ""}};
     },
     "CAP_NET_ADMIN", "CapabilityBoundingSet"},
    {"service", Level::kFails,
     [](Facts& f) {
       f.service = Keys{{"User", "isthmus"},
                        {"AmbientCapabilities", "cap_net_admin CAP_NET_RAW CAP_BPF cap_ipc_lock"},
                        {"CapabilityBoundingSet", "CAP_NET_ADMIN CAP_NET_RAW CAP_BPF CAP_IPC_LOCK\n~CAP_BPF"}};
     },
     "CAP_BPF", "CapabilityBoundingSet"},
    {"service", Level::kFails,
     [](Facts& f) {
       f.service = Keys{{"DynamicUser", "Yes"}, {"LimitMEMLOCK", "infinity"}};
     },
     "CAP_NET_ADMIN", "AmbientCapabilities"},
    {"service", Level::kOk,
     [](Facts& f) {
       f.service = Keys{{"DynamicUser", "yes"}, {"User", "root"}, {"LimitMEMLOCK", "infinity"}};
     },
     "without a watchdog", ""},
    {"service", Level::kFails, [](Facts& f) { f.unit_masked = true; }, "masked", "systemctl unmask"},
    {"service", Level::kFails,
     [](Facts& f) {
       f.service = Keys{{"CapabilityBoundingSet", "CAP_NET_ADMIN CAP_NET_RAW CAP_BPF"}};
     },
     "LimitMEMLOCK", "LimitMEMLOCK=infinity"},
    {"service", Level::kFails,
     [](Facts& f) {
       f.service = Keys{};
       f.config->handover_wait_ms = 1000;
     },
     "handover.wait", "KillMode=process"},
    {"service", Level::kFails,
     [](Facts& f) {
       f.service = Keys{{"ProtectHome", "yes"}};
       f.config->kubernetes.cluster = "/root/.kube/config";
     },
     "does not see /root/.kube/config", "/etc/isthmus"},
    {"service", Level::kOk,
     [](Facts& f) {
       f.service = Keys{{"User", "isthmus"},
                        {"AmbientCapabilities", "CAP_NET_ADMIN CAP_NET_RAW CAP_BPF CAP_IPC_LOCK"},
                        {"WatchdogSec", "10s"}};
     },
     "watchdog 10s", ""},
    {"clock", Level::kFails, [](Facts& f) { f.now = 100; }, "in the past", "chrony"},
    {"clock", Level::kNote, [](Facts& f) { f.clock_synchronised = Availability::kNo; }, "no time service", "chrony"},
    {"clock", Level::kNote, [](Facts& f) { f.clock_synchronised = Availability::kUnseen; }, "cannot be seen", ""},
};

TEST(SystemChecks, EachConditionIsSaidWithItsFix) {
  expect_rows({"configuration", "kernel", "bpf-file-system", "capabilities", "memlock", "service", "clock"},
              kSystemRows);
}

}  // namespace
}  // namespace isthmus::test
