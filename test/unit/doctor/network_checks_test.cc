#include "test/unit/doctor/check_rows.h"

namespace isthmus::test {
namespace {

NodeAddress router(const char* address) { return {*IpAddress::parse(address), "eth0", true, 128}; }
TunnelDevice vxlan(std::uint16_t port) { return {"cilium_vxlan", "VXLAN", L4Port{port}}; }
KernelSocket listener(const char* address) { return {*IpAddress::parse(address), L4Port{9979}, true}; }

const std::vector<CheckRow> kNetworkRows = {
    {"reverse-path", Level::kSlow, [](Facts& f) { f.underlay->reverse_path = "1"; }, "strict", "eth0.rp_filter=2"},
    {"reverse-path", Level::kNote,
     [](Facts& f) {
       f.underlay->reverse_path = "1";
       f.config->local.veth = true;
     },
     "strict", "rp_filter=2"},
    {"reverse-path", Level::kOk, [](Facts& f) { f.underlay->reverse_path = "2"; }, "not strict", ""},
    {"forwarding", Level::kFails,
     [](Facts& f) {
       f.config->local.veth = true;
       f.sysctls["ipv4/ip_forward"] = "0";
     },
     "net.ipv4.ip_forward is 0", "sysctl -w net.ipv4.ip_forward=1"},
    {"forwarding", Level::kOk, [](Facts& f) { f.sysctls["ipv4/ip_forward"] = "0"; }, "engine", ""},
    {"underlay-address", Level::kFails, [](Facts& f) { f.addresses.clear(); }, "no interface has 192.0.2.1",
     "eth0 has 192.0.2.1"},
    {"underlay-address", Level::kFails, [](Facts& f) { f.addresses[0].interface = "eth1"; }, "on eth1",
     "devices.underlay.interface: eth1"},
    {"underlay-address", Level::kFails,
     [](Facts& f) {
       f.own.reset();
       f.own_error = Error{"no Gateway object", "gateway north-1", "add one"};
     },
     "no Gateway object", "add one"},
    {"underlay-address", Level::kNote, [](Facts& f) { f.own.reset(); }, "not asked", ""},
    {"translation", Level::kNote, [](Facts& f) { f.config->translation_ipv4.reset(); }, "neither", "translation.ipv4"},
    {"translation", Level::kSlow, [](Facts& f) { f.config->translation_ipv4 = IpAddress::parse("192.0.2.1"); },
     "of this machine's, on eth0", "nobody has"},
    {"translation", Level::kFails, [](Facts& f) { f.addresses.push_back(router("10.3.255.1")); }, "router's",
     "nobody has"},
    {"neighbours", Level::kSlow, [](Facts& f) { f.underlay->unresolved = {"192.0.2.254"}; }, "192.0.2.254", "ip neigh"},
    {"tunnel-port", Level::kNote, [](Facts& f) { f.ports.tunnels = {vxlan(8472)}; }, "cilium_vxlan", "spec.port"},
    {"tunnel-port", Level::kFails,
     [](Facts& f) {
       f.ports.tunnels = {vxlan(8472)};
       f.config->local.delivery = LocalDelivery::kTunnel;
     },
     "cilium_vxlan", "delivery: route"},
    {"tunnel-port", Level::kNote,
     [](Facts& f) {
       f.own.reset();
       f.ports.tunnels = {vxlan(6081)};
     },
     "cilium_vxlan", "spec.port"},
    {"tunnel-port", Level::kNote,
     [](Facts& f) {
       f.ports.udp = {{IpAddress(), L4Port{8472}, false}};
     },
     "a program", "ss -lunp"},
    {"tunnel-port", Level::kOk, [](Facts& f) { f.ports.tunnels = {vxlan(4789)}; }, "nobody", ""},
    {"metrics-port", Level::kSlow, [](Facts& f) { f.ports.tcp = {listener("0.0.0.0")}; }, "9979", "metrics.port"},
    {"metrics-port", Level::kOk, [](Facts& f) { f.ports.tcp = {listener("192.0.2.1")}; }, "free", ""},
    {"metrics-port", Level::kOk,
     [](Facts& f) {
       f.ports.tcp = {listener("127.0.0.1")};
       f.admin.listens = true;
     },
     "running gateway", ""},
    {"metrics-port", Level::kOk, [](Facts& f) { f.config->metrics_enabled = false; }, "off", ""},
};

TEST(NetworkChecks, EachConditionIsSaidWithItsFix) {
  expect_rows(
      {"reverse-path", "forwarding", "underlay-address", "translation", "neighbours", "tunnel-port", "metrics-port"},
      kNetworkRows);
}

}  // namespace
}  // namespace isthmus::test
