#include "test/unit/doctor/check_rows.h"

namespace isthmus::test {
namespace {

constexpr std::uint64_t kPage = std::uint64_t{2} << 20;

// The good machine with a NIC that DPDK has.
Facts& with_nic(Facts& facts) {
  facts.config->underlay.dpdk = facts.config->local.device.dpdk = "0000:00:05.0";
  facts.config->underlay.interface = facts.config->local.device.interface = "dpdk0";
  facts.config->frames = 16384;  // 64 MiB
  DpdkFacts& dpdk = facts.dpdk.emplace();
  dpdk.drivers = {"af_packet", "ena", "virtio"};
  dpdk.huge_pages = {kPage, 70, 64 * kPage};
  DpdkDeviceFacts device;
  device.key = "devices.underlay.dpdk";
  device.name = "0000:00:05.0";
  device.nic = PciNic{"0000:00:05.0", "vfio-pci", {}, "0x1af4", true, true};
  dpdk.devices = {device};
  return facts;
}

Facts& with_software(Facts& facts) {
  with_nic(facts);
  facts.config->underlay.dpdk = facts.config->local.device.dpdk = "net_memif0,role=client";
  facts.dpdk->devices[0].name = "net_memif0,role=client";
  facts.dpdk->devices[0].nic.reset();
  facts.dpdk->drivers = {"memif"};
  return facts;
}

const std::vector<CheckRow> kDpdkRows = {
    {"dpdk", Level::kOk, [](Facts&) {}, "no device is DPDK's", ""},
    {"dpdk", Level::kOk, [](Facts& f) { with_nic(f); }, "0000:00:05.0: driver vfio-pci, behind an IOMMU", ""},
    {"dpdk", Level::kOk, [](Facts& f) { with_software(f); }, "net_memif0,role=client", ""},
    {"dpdk", Level::kFails,
     [](Facts& f) {
       with_nic(f).dpdk->module_error = Error{"there is no module isthmus-dpdk.so", "devices", "install it"};
     },
     "no module", "install it"},
    {"dpdk", Level::kFails, [](Facts& f) { with_nic(f).dpdk->drivers.clear(); }, "none of DPDK's drivers",
     "librte-meta-net"},
    {"dpdk", Level::kFails, [](Facts& f) { with_nic(f).dpdk->drivers = {"ena"}; }, "driver net_virtio",
     "apt-get install librte-net-virtio23"},
    {"dpdk", Level::kFails,
     [](Facts& f) {
       with_nic(f).dpdk->devices[0].nic->vendor = "0x15b3";
       f.dpdk->devices[0].nic->driver = "mlx5_core";
     },
     "driver net_mlx5", "apt-get install librte-net-mlx5-23"},
    {"dpdk", Level::kFails,
     [](Facts& f) {
       with_nic(f).dpdk->devices[0].nic->vendor = "0x1414";
       f.dpdk->devices[0].nic->driver = "mana";
     },
     "driver net_mana", "packaging/README.md"},
    {"dpdk", Level::kFails, [](Facts& f) { with_software(f).dpdk->drivers = {"af_packet"}; }, "driver net_memif",
     "librte-net-memif23"},
    {"dpdk", Level::kFails,
     [](Facts& f) {
       with_nic(f).dpdk->devices[0].error = Error{"the NIC is the kernel's: eth0", "devices", "driverctl set-override"};
     },
     "the kernel's: eth0", "driverctl"},
    {"dpdk", Level::kNote,
     [](Facts& f) {
       with_nic(f).dpdk->devices[0].nic->iommu = false;
       f.config->dpdk_iommu = DpdkIommu::kNone;
     },
     "no IOMMU, as engine.dpdk.iommu says", "leave out engine.dpdk.iommu"},
    {"huge-pages", Level::kOk, [](Facts&) {}, "no device is DPDK's", ""},
    {"huge-pages", Level::kOk, [](Facts& f) { with_nic(f); }, "128 MiB of huge pages are free, for 64 MiB", ""},
    {"huge-pages", Level::kOk, [](Facts& f) { with_software(f).dpdk->huge_pages.free = 0; }, "software", ""},
    {"huge-pages", Level::kFails,
     [](Facts& f) {
       with_software(f).dpdk->huge_pages = {kPage, 0, 0};
       f.config->dpdk_memory.pages = DpdkPages::kHuge;
     },
     "0 MiB of huge pages", "sysctl -w vm.nr_hugepages=64;"},
    {"huge-pages", Level::kFails, [](Facts& f) { with_nic(f).dpdk->huge_pages.free = 31 * kPage; },
     "62 MiB of huge pages are free, for 64 MiB of DPDK's (engine.dpdk.memory_mb) and 64 MiB",
     "vm.nr_hugepages=103 > /etc/sysctl.d/60-isthmus.conf"},
    {"huge-pages", Level::kSlow, [](Facts& f) { with_nic(f).dpdk->huge_pages.free = 32 * kPage; }, "64 MiB of huge",
     "sysctl -w vm.nr_hugepages=102;"},
    {"huge-pages", Level::kFails, [](Facts& f) { with_nic(f).config->dpdk_memory.pages = DpdkPages::kOrdinary; },
     "huge_pages is none", "leave out"},
    {"huge-pages", Level::kOk,
     [](Facts& f) {
       with_nic(f).dpdk->huge_pages.free = 0;
       f.admin.listens = true;
       f.admin.answers = true;
     },
     "running gateway", ""},
    // What is AF_XDP's is not asked of a NIC that DPDK has.
    {"interfaces", Level::kOk, [](Facts& f) { with_nic(f).underlay->link.reset(); }, "dpdk0 is made by the gateway",
     ""},
    {"underlay-address", Level::kNote, [](Facts& f) { with_nic(f).addresses.clear(); },
     "on no interface, and dpdk0 is made by the gateway", "systemd-networkd"},
    {"kernel", Level::kOk, [](Facts& f) { with_nic(f).kernel.af_xdp = Availability::kNo; }, "Linux", ""},
};

TEST(Doctor, OfDpdkDevices) { expect_rows({"dpdk", "huge-pages", "underlay-address"}, kDpdkRows); }

TEST(Doctor, AsksNothingOfAfXdpOfADpdkDevice) {
  Facts facts = good_machine();
  with_nic(facts);
  facts.underlay->link.reset();
  facts.underlay->device.reset();
  for (const Finding& finding : examine(facts)) {
    EXPECT_LT(finding.level, Level::kSlow) << finding.check << ": " << finding.found;
    for (const char* check : {"xdp-mode", "xdp-program", "queues", "offloads"}) {
      EXPECT_TRUE(finding.check != check || finding.found.find("eth0") == std::string::npos) << finding.found;
    }
  }
}

}  // namespace
}  // namespace isthmus::test
