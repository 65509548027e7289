// NICs of a sysfs that is made for each test.
#include "control/machine/dpdk_nic.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace isthmus {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAddress = "0000:00:05.0";
constexpr const char* kKey = "devices.underlay.dpdk";

class DpdkNic : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "sysfs-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    fs::create_directories(root_ / "class/net");
  }
  void TearDown() override { fs::remove_all(root_); }

  static void write(const fs::path& path, const std::string& text) {
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text << "\n";
  }
  fs::path device(const std::string& address) const { return root_ / "bus/pci/devices" / address; }
  void add(const std::string& address, const std::string& driver, const std::string& type = "0x020000") const {
    write(device(address) / "class", type);
    if (!driver.empty()) {
      fs::create_directory_symlink("../../../bus/pci/drivers/" + driver, device(address) / "driver");
    }
  }
  // Below the NIC, or below its virtio device.
  void add_interface(const std::string& name, const fs::path& below) const {
    write(below / "net" / name / "address", "02:00:00:00:00:01");
    fs::create_directory_symlink(below, below / "net" / name / "device");
    fs::create_directory_symlink(below / "net" / name, root_ / "class/net" / name);
  }
  void add_group(const std::string& address, const std::string& name = "") const {
    const fs::path group = root_ / "kernel/iommu_groups/1";
    name.empty() ? static_cast<void>(fs::create_directories(group)) : write(group / "name", name);
    fs::create_directory_symlink(group, device(address) / "iommu_group");
  }
  void allow_without_iommu() const { write(root_ / "module/vfio/parameters/enable_unsafe_noiommu_mode", "Y"); }

  std::string devargs(const std::string& name, DpdkIommu iommu = DpdkIommu::kRequired) const {
    const auto found = dpdk_devargs(kKey, name, iommu, root_.string());
    return found ? *found : "error: " + found.error().text();
  }
  void expect_error(const std::string& name, const std::string& what, const std::string& fix,
                    DpdkIommu iommu = DpdkIommu::kRequired) const {
    const auto found = dpdk_devargs(kKey, name, iommu, root_.string());
    ASSERT_FALSE(found.ok()) << *found;
    EXPECT_NE(found.error().what.find(what), std::string::npos) << found.error().text();
    EXPECT_NE(found.error().fix.find(fix), std::string::npos) << found.error().text();
  }

  fs::path root_;
};

TEST_F(DpdkNic, BoundToVfioBehindAnIommuIsTaken) {
  add(kAddress, "vfio-pci");
  add_group(kAddress);
  EXPECT_EQ(devargs("0000:00:05.0"), "0000:00:05.0");
  EXPECT_EQ(devargs("00:05.0,args=1"), "0000:00:05.0,args=1");
}

TEST_F(DpdkNic, WithoutAnIommuIsRefusedUnlessThatIsAskedFor) {
  add(kAddress, "vfio-pci");
  expect_error(kAddress, "no IOMMU", "engine.dpdk.iommu: none");
  expect_error(kAddress, "VFIO does not do without", "enable_unsafe_noiommu_mode=1", DpdkIommu::kNone);
  allow_without_iommu();
  add_group(kAddress, "vfio-noiommu");
  expect_error(kAddress, "no IOMMU", "engine.dpdk.iommu: none");
  EXPECT_EQ(devargs(kAddress, DpdkIommu::kNone), kAddress);
}

TEST_F(DpdkNic, OfAUioDriverIsRefusedUnlessThatIsAskedFor) {
  add(kAddress, "igb_uio");
  add_group(kAddress);
  expect_error(kAddress, "igb_uio, lets the NIC read and write all", "bind it to vfio-pci");
  EXPECT_EQ(devargs(kAddress, DpdkIommu::kNone), kAddress);
}

TEST_F(DpdkNic, OfTheKernelsIsNamedWithItsDriverAndHowToBindIt) {
  add(kAddress, "virtio-pci");
  add_interface("eth0", device(kAddress) / "virtio2");
  for (const char* name : {kAddress, "eth0"}) {
    expect_error(name, "is the kernel's: eth0, driver virtio-pci", "driverctl set-override 0000:00:05.0 vfio-pci");
    expect_error(name, "0000:00:05.0", "net_af_packet0,iface=eth0");
  }
}

TEST_F(DpdkNic, WithoutADriverIsToBeBound) {
  add(kAddress, "");
  expect_error(kAddress, "no driver", "dpdk-devbind.py -b vfio-pci 0000:00:05.0");
}

TEST_F(DpdkNic, OfASharedDriverIsTakenByItsInterface) {
  add(kAddress, "mlx5_core");
  add_interface("enp0s5", device(kAddress));
  EXPECT_EQ(devargs("enp0s5"), kAddress);
  EXPECT_EQ(devargs(kAddress), kAddress) << "no IOMMU is asked for: the kernel's driver keeps it in bounds";
}

TEST_F(DpdkNic, OfManaIsToldByTheAddressOfItsInterface) {
  add("7870:00:00.0", "mana");
  add_interface("enP30832s1", device("7870:00:00.0"));
  EXPECT_EQ(devargs("enP30832s1"), "7870:00:00.0,mac=02:00:00:00:00:01");
}

TEST_F(DpdkNic, OfHyperVsBusIsBoundThere) {
  const fs::path device = root_ / "bus/vmbus/devices/635a7ae3-091e-4410-ad59-667c4f8c04c3";
  fs::create_directories(device);
  fs::create_directory_symlink("../../drivers/hv_netvsc", device / "driver");
  add_interface("eth1", device);
  expect_error("eth1", "hv_netvsc",
               "driverctl -b vmbus set-override 635a7ae3-091e-4410-ad59-667c4f8c04c3 uio_hv_generic");
}

TEST_F(DpdkNic, ThatIsNotThereIsNamedBesideThoseThatAre) {
  expect_error("0000:00:07.0", "there is no PCI device 0000:00:07.0", "no NICs on the PCI bus");
  add(kAddress, "ena");
  add("0000:00:06.0", "nvme", "0x010802");
  add_interface("ens5", device(kAddress));
  expect_error("0000:00:07.0", "there is no PCI device 0000:00:07.0", "NICs here are 0000:00:05.0 (ens5, driver ena)");
  expect_error("0000:00:06.0", "is no NIC", "0000:00:05.0");
  expect_error("eth7", "there is no interface eth7", "0000:00:05.0 (ens5, driver ena)");
}

TEST_F(DpdkNic, OfSoftwareIsForAfXdp) {
  fs::create_directories(root_ / "class/net/veth0");
  expect_error("veth0", "is no NIC", "net_af_packet0,iface=veth0");
}

TEST_F(DpdkNic, DevargsAreDpdksOwn) { EXPECT_EQ(devargs("net_memif0,role=client"), "net_memif0,role=client"); }

TEST_F(DpdkNic, InterfacesWhosePacketsTheKernelHasToo) {
  add(kAddress, "mlx5_core");
  add_interface("eth5", device(kAddress));
  add("0000:00:06.0", "vfio-pci");
  const auto interface = [this](const std::string& devargs) { return kernel_interface_of(devargs, root_.string()); };
  EXPECT_EQ(interface(std::string(kAddress) + ",rxq_cqe_comp_en=0"), "eth5");
  EXPECT_EQ(interface("0000:00:06.0"), "");
  EXPECT_EQ(interface("0000:00:07.0"), "");
  EXPECT_EQ(interface("net_af_packet0,iface=eth1,qpairs=2"), "eth1");
  EXPECT_EQ(interface("net_af_xdp0,start_queue=0,iface=eth1"), "eth1");
  EXPECT_EQ(interface("net_af_packet0"), "");
  EXPECT_EQ(interface("net_tap0,iface=tap0"), "");  // makes it itself
  EXPECT_EQ(interface("net_memif0,role=client"), "");
}

}  // namespace
}  // namespace isthmus
