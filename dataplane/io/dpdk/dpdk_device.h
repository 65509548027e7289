// A network interface that a driver of DPDK's has: a NIC of the PCI bus, or one of its software devices.
//
// Queues: as many as there are workers, where the device has them; a worker beyond its receive queues only sends. All
// of a worker's DPDK devices share one mempool, which is its FramePool (frame_mempool.h). The device is started when
// the last worker has opened its queue, before the workers run. Thread: control. Failures: errors that say what DPDK
// said.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "dataplane/api/devices.h"
#include "dataplane/io/dpdk/dpdk_queue.h"

namespace isthmus {

class DpdkDevice final : public Device {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Device>> open(const DpdkOptions& options);

  [[nodiscard]] const std::string& name() const noexcept override {
    return options_.twin.empty() ? options_.device : options_.twin;
  }
  [[nodiscard]] MacAddress mac() const noexcept override { return mac_; }
  [[nodiscard]] Bytes mtu() const noexcept override { return mtu_; }
  [[nodiscard]] unsigned queues() const noexcept override { return receive_queues_; }
  [[nodiscard]] std::uint32_t reserved_bytes() const noexcept override { return FrameMempool::kReserved; }
  [[nodiscard]] std::uint32_t most_staggered() const noexcept override;
  [[nodiscard]] Result<std::unique_ptr<DeviceQueue>> open_queue(WorkerId worker, unsigned workers,
                                                                FramePool& pool) override;
  [[nodiscard]] bool divides_flows() const noexcept override { return divides_flows_; }
  [[nodiscard]] bool shares_with_host() const noexcept override { return twin_ != nullptr; }
  // It has no program: what is ours is decided by the path.
  [[nodiscard]] Status steer(const SteerRules& /*rules*/) override { return Ok{}; }
  [[nodiscard]] Status change_steer(const SteerChange& /*change*/) override { return Ok{}; }
  [[nodiscard]] DeviceCondition check() override;
  // Takes the NIC that was taken away into use again. Error: it is not back, or does not do.
  [[nodiscard]] Status reopen() override;
  [[nodiscard]] std::string describe() const override;
  // What the driver says that it has lost.
  [[nodiscard]] QueueCounters counters() const override;

 private:
  explicit DpdkDevice(const DpdkOptions& options) : options_(options) {}
  [[nodiscard]] Status probe();
  [[nodiscard]] Status read_facts();
  [[nodiscard]] Status open_twin();
  [[nodiscard]] Status configure(unsigned workers);
  [[nodiscard]] Status start();
  [[nodiscard]] Status take_again();
  [[nodiscard]] Status set_up(std::uint16_t queue, const FrameMempool& mempool);
  [[nodiscard]] bool has_link() const noexcept;
  [[nodiscard]] Error probe_failure(int error) const;
  [[nodiscard]] Error failure(const std::string& what, int error, const std::string& fix) const;

  DpdkOptions options_;
  std::shared_ptr<DpdkPort> port_;
  std::shared_ptr<Twin> twin_;
  rte_eth_dev_info info_{};
  MacAddress mac_;
  Bytes mtu_{1500};
  unsigned receive_queues_ = 1;
  bool divides_flows_ = true;
  std::uint16_t receive_entries_ = 0, transmit_entries_ = 0;
  std::vector<DpdkQueue*> queues_;  // the workers', which end before it
  // Of a NIC that was taken away: looks until the next attempt to take it, of how many, and what came of the last one.
  unsigned looks_left_ = 0, looks_ = 1;
  std::string not_back_;
};

}  // namespace isthmus
