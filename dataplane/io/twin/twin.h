// The twin of a device whose NIC the kernel does not have: a TAP by which the host's own packets reach the kernel's
// stack, and leave it.
//
// It has the MAC address, MTU and carrier of the NIC. Each worker gives what is not the fleet's by its TwinQueue; one
// thread of the twin's own (host_thread.h) carries it, and what the kernel sends, which worker 0 takes. Owner: the
// device; its queues share it. Threads: open(), check() and the setters are for control and for who hears of the link's
// changes, under a lock; workers use their TwinQueue alone. Failures: errors that name the interface; while the TAP is
// gone, packets are counted as refused, and check() makes it again.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/io/device.h"
#include "dataplane/io/twin/host_thread.h"
#include "dataplane/io/twin/tap.h"
#include "dataplane/io/twin/twin_queue.h"

namespace isthmus {

struct TwinOptions {
  std::string interface;  // the TAP's name
  MacAddress mac;         // of the NIC, as the two below
  Bytes mtu{1500};
  bool link = true;
  unsigned workers = 1;
  std::vector<int> cores = {};      // CPUs that are the workers'
  std::uint32_t ring_frames = 512;  // of each worker; powers of two
  std::uint32_t urgent_ring_frames = 128;
};

class Twin {
 public:
  // Makes the TAP in the caller's network namespace, or adopts one that was left over, brings it up and starts the
  // thread.
  [[nodiscard]] static Result<std::shared_ptr<Twin>> open(const TwinOptions& options);
  ~Twin() { thread_.stop(); }
  Twin(const Twin&) = delete;
  Twin& operator=(const Twin&) = delete;

  [[nodiscard]] const std::string& interface() const noexcept { return options_.interface; }
  // Valid as long as the twin. Precondition: worker < TwinOptions::workers.
  [[nodiscard]] TwinQueue& queue(WorkerId worker) noexcept { return *queues_[worker.value()]; }

  // What the NIC has now. While the TAP is gone, it is kept for when it is made again.
  [[nodiscard]] Status set_link(bool up);
  [[nodiscard]] Status set_mac(MacAddress mac);
  // Error: also an MTU above what the buffers hold; then the old one stays.
  [[nodiscard]] Status set_mtu(Bytes mtu);
  // Looks at the TAP: makes it again where it was removed, and puts back what others changed, but does not bring it up
  // against an operator's will. Adds what it finds to `condition`.
  void check(DeviceCondition& condition);
  // The TAP goes away with the twin, instead of staying for the next process.
  [[nodiscard]] Status forget();

 private:
  explicit Twin(const TwinOptions& options);
  [[nodiscard]] Status make();
  [[nodiscard]] Status follow(const TapFacts& facts, std::vector<std::string>& changes);

  TwinOptions options_;
  std::uint32_t frame_bytes_;
  std::mutex control_;
  std::shared_ptr<TwinShared> shared_ = std::make_shared<TwinShared>();
  std::vector<std::unique_ptr<TwinQueue>> queues_;
  std::optional<Tap> tap_;
  HostThread thread_;  // stops before the TAP is closed
};

}  // namespace isthmus
