// The connections of the agreement test: their frames, how far each is opened, and what was sent of each.
//
// Connection `n` is from port kFirstPort + n of one client, every other one to a VIP. One thread gives packets to the
// workers and takes what they send, one gives packets to the kernel programs; each counts what it has seen leave.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <vector>

#include "dataplane/api/counters.h"
#include "dataplane/conntrack/connection.h"
#include "test/support/path_rig.h"

namespace isthmus::test {

// How far a connection is opened.
enum class Stage : std::uint8_t { kEnded, kBegun, kAnswered, kOpen };

struct ScriptedConnection {
  Endpoint client, target;
  FrameBytes there;                // a plain packet of the client
  std::array<FrameBytes, 2> back;  // and of the pod, by the gateway that it comes from
  Stage stage = Stage::kEnded;     // of the thread that gives packets to the workers
  // Odd: it has ended, and not begun again. Written by that thread.
  std::atomic<std::uint32_t> turn{1};
  struct Tally {
    std::atomic<std::uint64_t> packets{0}, bytes{0};
    void add(std::uint64_t more) noexcept {
      packets.store(packets.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      bytes.store(bytes.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
    }
  };
  // Since it began, by Direction. Each has one writer at a time.
  std::array<Tally, 2> by_workers, by_kernel;

  [[nodiscard]] LeaseCount sent(Direction direction) const noexcept {
    const auto d = static_cast<std::size_t>(direction);
    return {by_workers[d].packets + by_kernel[d].packets, by_workers[d].bytes + by_kernel[d].bytes};
  }
  void forget_counts() noexcept;
};

// What a frame that has left is.
struct LeftFrame {
  std::uint16_t client_port = 0;
  Direction direction = Direction::kForward;
  std::uint8_t tcp_flags = 0;
  std::uint64_t inner_bytes = 0;
};

class ConnectionScript {
 public:
  static constexpr std::uint16_t kFirstPort = 10'000, kFencePort = 60'000;
  ConnectionScript(const PathRig& rig, std::size_t connections);

  [[nodiscard]] std::size_t size() const noexcept { return connections_.size(); }
  [[nodiscard]] ScriptedConnection& operator[](std::size_t n) noexcept { return connections_[n]; }
  // nullptr: it is none of them.
  [[nodiscard]] ScriptedConnection* of_port(std::uint16_t port) noexcept;
  // Of the client, and of the pod through a gateway.
  [[nodiscard]] FrameBytes there(const ScriptedConnection& connection, std::uint8_t flags) const;
  [[nodiscard]] FrameBytes back(const ScriptedConnection& connection, std::uint8_t flags, bool other_gateway) const;
  // A packet of a connection that nothing is changed about, and that each worker has one of.
  [[nodiscard]] FrameBytes fence(unsigned worker) const;

  // Frames that leave by the underlay are in a VXLAN tunnel over IPv4.
  [[nodiscard]] static LeftFrame read(const FrameBytes& frame, bool underlay);

 private:
  const PathRig& rig_;
  std::vector<ScriptedConnection> connections_;
};

}  // namespace isthmus::test
