// The topology of the AF_XDP tests: three network namespaces in a row, joined by veth pairs of two queues each.
//
//   left (10.1.0.1) l0 --- u0 (10.1.0.254, 192.0.2.1)  gateway  d0 (10.2.0.254) --- r0 (10.2.0.1) right
//
// The gateway's kernel forwards between the two sides, so that a packet the steer program wrongly passes is delivered
// and detected. Neighbours are static and IPv6 is off: there are no packets that the test did not send.
// Thread: the test's; at() moves it into a namespace.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/api/devices.h"
#include "dataplane/io/unique_fd.h"

namespace isthmus::lab {

inline const char* const kLeft = "10.1.0.1";
inline const char* const kRight = "10.2.0.1";
inline const char* const kGatewayLeft = "10.1.0.254";
inline const char* const kTunnelEnd = "192.0.2.1";

// Runs a shell command; if it fails, the test fails and shows the command.
void sh(const std::string& command);

// A mount namespace of this process's own, in which kBpfFolder is a BPF file system that is empty, or none at all.
void have_bpf_file_system(bool mounted);

// Polls `done` until it is true; false after a generous timeout. Runs `step` in between.
[[nodiscard]] bool eventually(const std::function<bool()>& done, const std::function<void()>& step = {});

// A kernel UDP socket, non-blocking, in the namespace the thread was in when it was made.
class UdpSocket {
 public:
  // Bound to address:port; port 0: any free port.
  UdpSocket(const std::string& address, std::uint16_t port);
  void send(const std::string& to, std::uint16_t port, const std::string& payload);
  // Datagrams that have arrived since the last call.
  [[nodiscard]] std::vector<std::string> received();

 private:
  UniqueFd fd_;
};

class Lab {
 public:
  explicit Lab(unsigned mtu = 1500);
  ~Lab();
  Lab(const Lab&) = delete;
  Lab& operator=(const Lab&) = delete;
  // Puts this thread into "left", "gateway" or "right".
  void at(const std::string& where);
  // Removes the left pair, or makes it again.
  void remove_left();
  void make_left();
  // Moves its gateway end to another namespace, and back under the same number.
  void move_left_away_and_back();

 private:
  [[nodiscard]] std::string name(const std::string& where) const;
  void run_in(const std::string& where, const std::string& command);
  void set_up_left();
  void make_pair(const std::string& end, const std::string& where, const char* mac, const std::string& peer,
                 const char* peer_mac);
  unsigned mtu_;
  std::string prefix_;
  UniqueFd home_;
};

// What the gateway takes on its left and on its right device.
[[nodiscard]] SteerRules left_rules();
[[nodiscard]] SteerRules right_rules();

// A minimal gateway: sends everything received on one device out of the other, towards its host. One worker's share.
class Forwarder {
 public:
  // If `right` is null, frames are counted and released.
  Forwarder(Device& left, Device* right, WorkerId worker = WorkerId{0}, unsigned workers = 1,
            std::uint32_t frames = 4096);
  // One round; returns the frames received.
  unsigned round();
  [[nodiscard]] DeviceQueue& left() { return *left_; }
  [[nodiscard]] DeviceQueue& right() { return *right_; }
  [[nodiscard]] FramePool& pool() { return *pool_; }

 private:
  unsigned move(DeviceQueue& from, DeviceQueue* to, const MacAddress& source, const MacAddress& destination);
  std::unique_ptr<FramePool> pool_;
  MacAddress left_mac_, right_mac_;
  std::unique_ptr<DeviceQueue> left_, right_;
};

[[nodiscard]] std::unique_ptr<Device> open_device(const AfXdpOptions& options);

}  // namespace isthmus::lab
