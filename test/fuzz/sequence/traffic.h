// What a sequence does: packets that open, continue, answer, end or report on flows, sent as a fleet would send them or
// otherwise, mixed with changes of the fleet, time and probes. One action is one byte, which may ask for a modified
// packet and for a burst instead of a round of its own, and the bytes that the action reads.
//
// Packets that come out are remembered, so that they can be answered, reported on and quoted as their receiver would.
// What answers a packet must come out as the reverse of what was sent while its connection stands.
// Thread: one.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "test/fuzz/sequence/ledger.h"

namespace isthmus::test {

// The last few of something.
template <typename T>
class Recent {
 public:
  static constexpr std::size_t kMost = 8;
  [[nodiscard]] bool empty() const { return items_.empty(); }
  [[nodiscard]] std::size_t added() const { return added_; }
  [[nodiscard]] const T& of(std::uint8_t choice) const { return items_[choice % items_.size()]; }
  [[nodiscard]] const T& newest() const { return items_[(added_ - 1) % kMost]; }
  [[nodiscard]] const std::vector<T>& all() const { return items_; }
  void add(T item) {
    if (items_.size() < kMost) {
      items_.push_back(std::move(item));
    } else {
      items_[added_ % kMost] = std::move(item);
    }
    ++added_;
  }

 private:
  std::vector<T> items_;
  std::size_t added_ = 0;
};

class Traffic {
 public:
  explicit Traffic(Fleet& fleet) : fleet_(fleet), ledger_(fleet) {}
  void run(Input& in);

 private:
  // How a packet arrives.
  struct Way {
    bool underlay = false;
    std::optional<IpAddress> sender{};  // in a tunnel
    std::uint32_t vni = 0;
    std::uint8_t outer = 0;  // what is unusual about the tunnel's headers
    bool damaged = false;
    std::optional<std::uint32_t> flip{};  // a byte of the frame, and its value
  };
  struct Seen {
    Dissected packet;
    bool underlay = false;
    FrameBytes ip;                     // from its own IP header
    std::optional<PacketSpec> sent{};  // what it was when it arrived
    std::uint64_t removed = 0;         // connections until then
  };
  struct Sent {
    PacketSpec spec;
    Way way;
  };

  void act(std::uint8_t action, Input& in);
  void open(Input& in, bool modified);
  void again(Input& in, bool modified);
  void answer(Input& in, bool modified);
  void report(Input& in, bool modified);
  void misreport(Input& in, bool modified);
  void settle_flow(Input& in);
  void flood(Input& in);
  void scan(Input& in);
  void wait(Input& in);
  void probe(Input& in);
  void raw(Input& in);

  [[nodiscard]] std::vector<Endpoint> targets(bool v4) const;
  [[nodiscard]] Way way_from(const IpAddress& source) const;
  [[nodiscard]] Way way_back(const Seen& seen) const;
  [[nodiscard]] PacketSpec first_packet(Input& in) const;
  [[nodiscard]] static PacketSpec answer_to(const Dissected& packet);
  void modify(Input& in, PacketSpec& spec, Way& way) const;
  static void damage(Input& in, PacketSpec& spec, Way& way);
  [[nodiscard]] static PacketSpec probe_packet(const IpAddress& from, const IpAddress& to, std::uint8_t kind,
                                               std::uint32_t sequence);
  void send(PacketSpec spec, Way way, const Seen* answers = nullptr);
  void round(const PacketSpec* sent = nullptr, const Seen* answers = nullptr);
  void remember(const Output& out, const Ledger::Round& round, const PacketSpec* sent);
  static void check_answer(const Output& out, const Seen& seen);

  Fleet& fleet_;
  Ledger ledger_;
  Recent<Sent> sent_;
  Recent<Seen> seen_;
  Recent<std::uint32_t> probes_;  // sequences of those that the gateway has sent
  bool burst_ = false;
  unsigned budget_ = 1200;  // frames that may still be injected
};

}  // namespace isthmus::test
