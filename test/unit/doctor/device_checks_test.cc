#include "test/unit/doctor/check_rows.h"

namespace isthmus::test {
namespace {

XdpOnInterface program(const char* name, bool visible, bool ours) { return {7, name, visible, ours, true}; }

const std::vector<CheckRow> kDeviceRows = {
    {"interfaces", Level::kFails, [](Facts& f) { f.underlay->link.reset(); }, "no interface eth0",
     "devices.underlay.interface"},
    {"interfaces", Level::kFails, [](Facts& f) { f.underlay->link->up = false; }, "is down", "ip link set eth0 up"},
    {"interfaces", Level::kFails, [](Facts& f) { f.underlay->link->running = false; }, "no carrier", "cable"},
    {"interfaces", Level::kFails, [](Facts& f) { f.underlay->link->ethernet = false; }, "no Ethernet",
     "devices.underlay.interface"},
    {"interfaces", Level::kNote,
     [](Facts& f) {
       f.network_error = Error{"denied", "netlink", "as root"};
     },
     "denied", "as root"},
    {"xdp-mode", Level::kNote, [](Facts& f) { f.underlay->device->abilities.reset(); }, "does not tell", "status"},
    {"xdp-mode", Level::kSlow, [](Facts& f) { f.underlay->device->abilities = XdpAbilities{}; }, "generic",
     "native XDP"},
    {"xdp-mode", Level::kSlow, [](Facts& f) { f.config->underlay.xdp = XdpMode::kGeneric; }, "generic", "xdp: auto"},
    {"xdp-mode", Level::kSlow,
     [](Facts& f) {
       f.underlay->device->driver = "veth";
       f.underlay->device->abilities->transmits = false;
     },
     "not send", "gro on"},
    {"xdp-mode", Level::kFails,
     [](Facts& f) {
       f.underlay->device->abilities = XdpAbilities{};
       f.config->underlay.xdp = XdpMode::kNative;
     },
     "no native XDP", "xdp: auto"},
    {"xdp-mode", Level::kFails,
     [](Facts& f) {
       f.underlay->device->abilities->zero_copy = false;
       f.config->underlay.zero_copy = ZeroCopy::kRequire;
     },
     "without copying", "zero_copy: auto"},
    {"xdp-program", Level::kFails, [](Facts& f) { f.underlay->device->program = program("cil_xdp", true, false); },
     "cil_xdp", "xdp off"},
    {"xdp-program", Level::kNote, [](Facts& f) { f.underlay->device->program = program("", false, false); }, "number 7",
     "as root"},
    {"xdp-program", Level::kOk, [](Facts& f) { f.underlay->device->program = program("isthmus_steer", true, true); },
     "isthmus_steer", ""},
    {"queues", Level::kFails, [](Facts& f) { f.config->workers = 2; }, "1 queue for 2 workers", "engine.workers: 1"},
    {"queues", Level::kFails,
     [](Facts& f) {
       f.config->cores = {1, 3};
     },
     "1 queue for 2 workers", "engine.cores"},
    {"queues", Level::kFails,
     [](Facts& f) {
       f.config->workers = 2;
       f.underlay->device->most_queues = 4;
     },
     "1 queue for 2 workers", "ethtool -L eth0 combined 2"},
    {"queues", Level::kFails, [](Facts& f) { f.underlay->device->rx_queues = f.underlay->device->tx_queues = 128; },
     "128 queues for 1 worker", "engine.frames"},
    {"mtu", Level::kFails, [](Facts& f) { f.underlay->link->mtu = Bytes{1300}; }, "1300 bytes", "mtu 1500"},
    {"mtu", Level::kOk, [](Facts& f) { f.underlay->link->mtu = Bytes{9000}; }, "9000 bytes", ""},
    {"mtu", Level::kSlow, [](Facts& f) { f.underlay->link->mtu = Bytes{16000}; }, "16000 bytes", "MTU of 11968"},
    {"mtu", Level::kSlow,
     [](Facts& f) {
       f.underlay->link->mtu = Bytes{9000};
       f.kernel.release = "6.1.0";
     },
     "9000 bytes", "MTU of 3776"},
    {"mtu", Level::kFails,
     [](Facts& f) {
       f.config->local.veth = true;
       f.config->local.mtu = 1500;
     },
     "devices.local.mtu 1500", "mtu: auto"},
    {"mtu", Level::kNote,
     [](Facts& f) {
       f.config->local.device.interface = "eth1";
       f.local = interface_named("eth1");
     },
     "eth1 has 1500 bytes", "MTU of 1450"},
    {"mtu", Level::kOk, [](Facts& f) { f.own->more = {*IpAddress::parse("2001:db8::1")}; }, "1430 are left", ""},
    {"offloads", Level::kNote,
     [](Facts& f) {
       f.underlay->device->offloads = {"rx-lro", "rx-vlan-hw-parse"};
     },
     "rx-lro, rx-vlan-hw-parse", "ethtool -K eth0 rx-lro off rx-vlan-hw-parse off"},
    {"offloads", Level::kNote,
     [](Facts& f) {
       f.underlay->device->generic_offloads = {"rx-gro"};
       f.config->underlay.xdp = XdpMode::kGeneric;
     },
     "rx-gro", "rx-gro off"},
    {"offloads", Level::kOk, [](Facts& f) { f.underlay->device->generic_offloads = {"rx-gro"}; }, "none", ""},
    {"legs", Level::kSlow, [](Facts& f) { f.underlay->legs = {"enP1s1"}; }, "enP1s1", "accelerated"},
};

TEST(DeviceChecks, EachConditionIsSaidWithItsFix) {
  expect_rows({"interfaces", "xdp-mode", "xdp-program", "queues", "mtu", "offloads", "legs"}, kDeviceRows);
}

}  // namespace
}  // namespace isthmus::test
