// The BPF maps into which settled flows are handed down (xdp/abi.h), shared by all legs of an engine.
//
// Life cycle: create → legs load their programs with fds() → the hand-down thread inserts and erases → destroy. The
// maps live on while a program uses them. Threads: find, insert, erase and wait_for_programs by one thread at a time;
// set_device by control; the memory of leases, tunnels, hops and epochs by whoever xdp/abi.h and its user name. Memory:
// 128 bytes for an entry, 24 for its lease, 4 for a chain, of which there are two to four for an entry.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <span>

#include "dataplane/api/devices.h"
#include "dataplane/base/result.h"
#include "dataplane/io/unique_fd.h"
#include "xdp/abi.h"
#include "xdp/loader/redirect_losses.h"

namespace isthmus {

class KernelFlows {
 public:
  // `entries`: of both directions together.
  [[nodiscard]] static Result<std::unique_ptr<KernelFlows>> create(std::uint32_t entries);
  ~KernelFlows();
  KernelFlows(const KernelFlows&) = delete;
  KernelFlows& operator=(const KernelFlows&) = delete;

  // The maps that a leg's object has in common with others, and does not have where nothing is handed down.
  static constexpr const char* kMapNames[] = {ISTHMUS_FLOWS_MAP, ISTHMUS_CHAINS_MAP, ISTHMUS_LEASES_MAP,
                                              "isthmus_tunnels", "isthmus_hops",     "isthmus_epochs",
                                              "isthmus_devices"};
  // For a leg's object: its map of this name becomes that of `fd`.
  struct NamedMap {
    const char* name;
    int fd;
  };
  // `fragments`: of a program for multi-buffer frames; the kernel keeps these and the others from having the map of
  // devices in common.
  [[nodiscard]] std::span<const NamedMap> maps(bool fragments) const noexcept { return named_[fragments ? 1 : 0]; }

  // How programs look for a key.
  [[nodiscard]] std::uint64_t secret() const noexcept { return secret_; }
  [[nodiscard]] std::uint8_t chain_shift() const noexcept { return chain_shift_; }

  [[nodiscard]] std::uint32_t entries() const noexcept { return entries_; }
  // As long as entries() + 1: lease 0 is no flow's.
  [[nodiscard]] std::span<isthmus_lease> leases() const noexcept;
  [[nodiscard]] std::span<isthmus_tunnel> tunnels() const noexcept;
  [[nodiscard]] std::span<isthmus_hop> hops() const noexcept;
  [[nodiscard]] std::uint32_t* epochs() const noexcept;  // ISTHMUS_EPOCH_WORDS

  // What devices do not take of the packets that are forwarded to them.
  [[nodiscard]] RedirectLosses& losses() noexcept { return losses_; }

  // Packets for this device of the engine leave by the interface. To be called again from time to time: the kernel
  // empties the place of an interface that is removed, and another one may have the number.
  [[nodiscard]] Status set_device(std::uint32_t device, int interface_index);
  // The decision under the key. nullptr: there is none.
  [[nodiscard]] const isthmus_flow* find(const isthmus_flow_key& key) const noexcept;
  // Keys and values are of one length; each flow's entry is that of its lease, which no entry has, nor had at the last
  // wait_for_programs(). Returns how many were inserted, from the front; fewer: the table has the next key already,
  // which stays as it is, or no room for it.
  [[nodiscard]] std::size_t insert(std::span<const isthmus_flow_key> keys,
                                   std::span<const isthmus_flow> flows) noexcept;
  // Keys that are not there are passed over.
  void erase(std::span<const isthmus_flow_key> keys) noexcept;
  // Returns true when every program that ran at the call has ended, so that what was erased before is used by none.
  // Takes some milliseconds. False: the kernel has refused, and nothing is known.
  [[nodiscard]] bool wait_for_programs() noexcept;

 private:
  struct Area {
    void* start = nullptr;
    std::size_t bytes = 0;
  };
  KernelFlows() = default;
  [[nodiscard]] Status map_areas();
  [[nodiscard]] std::size_t chains() const noexcept { return std::size_t{1} << (64 - chain_shift_); }
  // Where the key's number is, or would be: in `chains` or in an entry's `next`. `place.length`: entries before it.
  struct Place {
    std::uint32_t* number;
    unsigned length;
  };
  [[nodiscard]] Place place_of(const isthmus_flow_key& key) const noexcept;
  [[nodiscard]] isthmus_entry* table() const noexcept { return static_cast<isthmus_entry*>(flow_area_.start); }

  std::uint32_t entries_ = 0;
  std::uint64_t secret_ = 0;
  std::uint8_t chain_shift_ = 0;
  UniqueFd flows_, chains_, leases_, tunnels_, hops_, epochs_;
  RedirectLosses losses_;
  UniqueFd devices_[2];     // the second: of programs for multi-buffer frames
  UniqueFd inner_, outer_;  // an array of maps, whose update waits for programs
  Area flow_area_, chain_area_, lease_area_, tunnel_area_, hop_area_, epoch_area_;
  NamedMap named_[2][std::size(kMapNames)] = {};
};

}  // namespace isthmus
