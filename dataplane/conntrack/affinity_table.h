// AffinityTable: the backend that a client of a frontend keeps, for services with session affinity (sessionAffinity:
// ClientIP), as in Cilium: from one use until the service's timeout after it. Uses are new connections, and packets of
// those that are there, which aging tells it of (FlowTable::age_connections). Whether the backend still takes new
// connections is for the caller to find out.
//
// Of a fixed size, in sets: where one is full, the pin that was used longest ago makes room. Not kept when the process
// ends; aging restores the pins of connections that have survived. Memory is touched as it is used. Where there is none
// to be had, nothing is remembered. Threads: any; a lock for a few entries, off the per-packet path.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "dataplane/api/tables.h"
#include "dataplane/base/spin_lock.h"

namespace isthmus {

class AffinityTable {
 public:
  static constexpr std::size_t kPins = 65536;  // as Cilium's bpf-lb-affinity-map-max

  struct Backend {
    IpAddress address;
    L4Port port;
    friend bool operator==(const Backend&, const Backend&) = default;
  };

  AffinityTable();
  ~AffinityTable();
  AffinityTable(const AffinityTable&) = delete;
  AffinityTable& operator=(const AffinityTable&) = delete;

  // What the client keeps, if it has used it less than `timeout` ago.
  [[nodiscard]] std::optional<Backend> find(const FrontendKey& frontend, const IpAddress& client, Seconds now,
                                            Seconds timeout) const noexcept;
  // A connection to the backend has been opened.
  void pin(const FrontendKey& frontend, const IpAddress& client, const Backend& backend, Seconds now) noexcept;
  // A connection to the backend was last used then. Changes nothing where the client has got another backend since.
  void keep(const FrontendKey& frontend, const IpAddress& client, const Backend& backend, Seconds used) noexcept;
  // How many are there: a client's pin counts once for each frontend, also after its timeout, until another takes its
  // place.
  [[nodiscard]] std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::size_t capacity() const noexcept { return entries_ == nullptr ? 0 : kPins; }

 private:
  struct alignas(64) Entry {  // an unspecified client: empty
    IpAddress client, vip, backend;
    Seconds used;
    L4Port port, backend_port;
    Realm realm;
    IpProtocol protocol;
  };
  static constexpr std::size_t kWays = 8, kSets = kPins / kWays, kLocks = 256;

  [[nodiscard]] static std::size_t set_of(const FrontendKey& frontend, const IpAddress& client) noexcept;
  [[nodiscard]] static bool matches(const Entry& entry, const FrontendKey& frontend, const IpAddress& client) noexcept;
  // The entry of the two, or where to make it. Under the set's lock.
  [[nodiscard]] static Entry* find(std::span<Entry> set, const FrontendKey& frontend, const IpAddress& client) noexcept;
  // A free one, or the one that was used longest ago.
  [[nodiscard]] static Entry& oldest(std::span<Entry> set) noexcept;
  void put(Entry& place, const Entry& entry) noexcept;

  Entry* entries_ = nullptr;  // kSets times kWays
  std::atomic<std::size_t> size_ = 0;
  mutable std::array<SpinLock, kLocks> locks_;
};

}  // namespace isthmus
