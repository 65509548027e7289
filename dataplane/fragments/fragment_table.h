// The fragmented datagrams that are on their way, for all workers.
//
// A datagram of the fleet is never put together: its first fragment has the L4 ports, its others get them from here and
// are forwarded as they come. Those that come before the first one are kept until it does. A tunnel packet that the
// underlay has fragmented is put together, because what is inside is forwarded as a whole.
//
// Bounded in time (Options::hold) and in memory, of which one sender can have an eighth of the datagrams and a quarter
// of what is kept. A full bucket makes room: first what has expired, then the oldest of the sender that has most.
//
// Threads: any; each bucket has a lock, for fragments alone. No allocation after construction. Lists of kept fragments
// that are returned are the caller's. Lengths in bytes, times in nanoseconds of one monotonic clock.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "dataplane/api/counters.h"
#include "dataplane/base/spin_lock.h"
#include "dataplane/fragments/datagram_parts.h"
#include "dataplane/fragments/kept_fragments.h"
#include "dataplane/packet/origin.h"
#include "dataplane/packet/parse.h"

namespace isthmus {

// What fragments of one datagram have in common.
struct DatagramKey {
  IpAddress source, destination;
  Origin origin;
  std::uint32_t id = 0;
  Realm realm;
  IpProtocol protocol{};
  bool tunnel = false;  // an outer packet
  friend bool operator==(const DatagramKey&, const DatagramKey&) noexcept = default;
};

// A fragment as it came, to be kept.
struct ArrivedFragment {
  std::span<const std::uint8_t> frame;  // without the tunnel's headers
  std::uint32_t frame_bytes = 0;        // as received
  IpAddress peer;
  Origin origin;
  DeviceId device;
};

// The ports that a first fragment shows.
struct DatagramPorts {
  Be16 source, destination;
  IpProtocol protocol{};
};

// Fragments that are to be dropped, for this reason.
struct LostFragments {
  std::uint32_t list = kNoPlace;
  DropReason reason{};
};

// What becomes of a fragment.
struct FragmentOutcome {
  enum class Step : std::uint8_t {
    kForward,   // with `ports`
    kKept,      // its frame is not needed any more
    kComplete,  // the same; it was the last of a tunnel packet, which is in `list`
    kDrop,      // for `reason`
  };
  Step step = Step::kDrop;
  DropReason reason{};
  std::uint8_t ecn_seen = 0;      // kComplete: bit n is set if a fragment had the ECN field n
  DatagramPorts ports;            // kForward
  std::uint32_t list = kNoPlace;  // kForward: those that have waited for it; kComplete: one
  LostFragments lost;             // others, by the way
};

class FragmentTable {
 public:
  struct Options {
    std::uint32_t datagrams = 0;  // at a time; rounded up to a power of two
    std::uint64_t hold_ns = 0;    // since a datagram's first sign
  };
  // How many fragments can be kept.
  [[nodiscard]] static constexpr std::uint32_t places_for(std::uint32_t datagrams) noexcept { return datagrams / 8; }

  explicit FragmentTable(const Options& options);

  // `sender`: who is to be charged; any number.
  [[nodiscard]] FragmentOutcome first(const DatagramKey& key, const FragmentPart& part, const DatagramPorts& ports,
                                      std::uint64_t sender, std::uint64_t now_ns) noexcept;
  [[nodiscard]] FragmentOutcome later(const DatagramKey& key, const FragmentPart& part, const ArrivedFragment& arrived,
                                      std::uint64_t sender, std::uint64_t now_ns) noexcept;
  // A fragment of a tunnel packet; `headers` are those in front of the part, Ethernet's among them.
  [[nodiscard]] FragmentOutcome assemble(const DatagramKey& key, const FragmentPart& part,
                                         const ArrivedFragment& arrived, std::span<const std::uint8_t> headers,
                                         std::uint8_t ecn, std::uint64_t sender, std::uint64_t now_ns) noexcept;
  // Nothing more of this datagram is wanted, whichever fragments come: they are dropped for this reason until it
  // expires.
  [[nodiscard]] LostFragments refuse(const DatagramKey& key, DropReason reason, std::uint64_t sender,
                                     std::uint64_t now_ns) noexcept;

  // Those of one bucket whose time has passed.
  [[nodiscard]] LostFragments expire(std::uint32_t bucket, std::uint64_t now_ns) noexcept;
  [[nodiscard]] std::uint32_t buckets() const noexcept { return bucket_mask_ + 1; }
  // Datagrams at present.
  [[nodiscard]] std::uint32_t now() const noexcept { return now_.load(std::memory_order_relaxed); }

  void add_to(TableCounts& sum) const noexcept {
    sum.fragmented += now();
    sum.fragments_waiting += kept_.frames();
  }

  [[nodiscard]] KeptFragments& kept() noexcept { return kept_; }

  // The longest tunnel packet that is put together, from behind its IP header.
  static constexpr std::uint32_t kHeaderRoom = 80;
  static constexpr std::uint32_t kLongestAssembled =
      4096 - kFrameHeadroom - kHeaderRoom;  // in a frame, with all headers

 private:
  enum class State : std::uint8_t { kFree, kWaiting, kKnown, kRefused };
  struct Datagram {
    DatagramKey key;
    std::uint64_t since_ns = 0;
    DatagramParts parts;
    std::uint32_t list = kNoPlace;
    std::uint32_t kept = 0;  // in the list
    DatagramPorts ports;
    State state = State::kFree;
    DropReason refused{};  // why, in kRefused
    std::uint8_t sender = 0, ecn_seen = 0;
  };
  static constexpr std::size_t kWays = 8, kSenders = 256;
  struct alignas(64) Bucket {
    SpinLock lock;
    std::atomic<std::uint8_t> used{0};
    std::array<Datagram, kWays> datagrams;
  };
  class Locked;

  [[nodiscard]] Bucket& bucket_of(const DatagramKey& key) noexcept;
  [[nodiscard]] Datagram* find_or_make(Bucket& bucket, const DatagramKey& key, std::uint64_t sender,
                                       std::uint64_t now_ns, FragmentOutcome& outcome) noexcept;
  [[nodiscard]] Datagram* make_room(Bucket& bucket, std::uint8_t sender, std::uint64_t now_ns,
                                    FragmentOutcome& outcome) noexcept;
  void refuse(Datagram& datagram, DropReason reason, FragmentOutcome& outcome) noexcept;
  [[nodiscard]] bool add(Datagram& datagram, const FragmentPart& part, FragmentOutcome& outcome) noexcept;
  [[nodiscard]] std::uint32_t keep(Datagram& datagram, const ArrivedFragment& arrived,
                                   FragmentOutcome& outcome) noexcept;
  [[nodiscard]] std::uint32_t detach(Datagram& datagram) noexcept;
  [[nodiscard]] std::uint32_t close(Bucket& bucket, Datagram& datagram) noexcept;
  void pass(Bucket& bucket, Datagram& datagram, FragmentOutcome& outcome) noexcept;
  [[nodiscard]] bool expired(const Datagram& datagram, std::uint64_t now_ns) const noexcept {
    // Signed: another worker's clock may have been read a little later.
    return static_cast<std::int64_t>(now_ns - datagram.since_ns) > static_cast<std::int64_t>(hold_ns_);
  }

  std::uint64_t hold_ns_;
  std::uint64_t secret_;
  std::uint32_t bucket_mask_;
  std::uint32_t datagrams_of_sender_, kept_of_sender_;  // at most
  KeptFragments kept_;
  std::unique_ptr<Bucket[]> buckets_;
  std::atomic<std::uint32_t> now_{0};
  std::array<std::atomic<std::uint32_t>, kSenders> datagrams_of_{}, kept_of_{};
};

}  // namespace isthmus
