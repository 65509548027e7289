// HandDown: hands settled flows down to XDP and takes them back.
//
// A worker finds that a direction is hot (conntrack/hot_flows.h) and posts its connection. The thread works in rounds:
//   look at what is down: withdrawn leases, what has gone, what XDP has forwarded; the coldest, when nearly full
//   take back: withdraw the leases → erase the entries → wait for running programs → keep what was counted,
//   unlink (FlowTable::take_back) → give numbers back; a lease once every worker has passed a quiescent point as well
//   hand down: pair and records for each candidate → insert the entries → make the leases valid, and look again
// Workers withdraw and stamp leases themselves (conntrack/leases.h has the order between them and this thread), and do
// nothing else for it: no worker waits, and no packet needs this thread to be decided by what stands.
//
// Directions go down and come back one by one. One that cannot go (its egress does not send for XDP, its decision has a
// time limit, no program runs where it arrives) stays with the workers, and the other one goes; the look finds when it
// can. The connection has its pair of leases while either is down, so that what ends or removes it withdraws both,
// whichever side sees it.
//
// Pairs. Of each that is in use `pairs_` has the connection it belongs to, by FlowRef, and what has to be given back.
// A connection that is gone has withdrawn its leases; the thread finds that in its next look.
//
// Threads: round() by one thread at a time: its own (start()), or the caller with drive_by_caller. It is a reader of
// the quiescence (SharedState::hand_down_slot) and online for some hundred connections at a time. set_egress,
// peers_moved, counts: control. `mutex_` guards records and pairs between the thread and peers_moved(), and is never
// held over a system call. Failure: what finds no room is counted and stays with the workers. While the kernel does not
// wait for programs, nothing that was taken back is used again; that is counted, and tried in every round.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "dataplane/conntrack/hot_flows.h"
#include "dataplane/conntrack/leases.h"
#include "dataplane/handdown/record.h"
#include "dataplane/handdown/records.h"
#include "dataplane/publish/shared_state.h"
#include "dataplane/stats/counter.h"
#include "xdp/loader/kernel_flows.h"

namespace isthmus {

class HandDown {
 public:
  // `shared` outlives this. Of `shared.options`: hand_down.flows, which is there, and workers.
  HandDown(SharedState& shared, unsigned workers);
  ~HandDown();
  HandDown(const HandDown&) = delete;
  HandDown& operator=(const HandDown&) = delete;

  // What is down stays there after stop().
  void start();
  void stop();
  // Packets for the device leave by this interface; 0: they cannot, and what is down by it is taken back. Control, at
  // every look at the devices (KernelFlows::set_device).
  [[nodiscard]] Status set_egress(DeviceId device, int interface_index);
  // Whether the program of a device forwards what arrives at it; at first none does. Control.
  void set_ingress(DeviceId device, bool forwards);
  // SharedState::peers_moved.
  void peers_moved(const Snapshot& snapshot, const std::set<PeerId>& changed);
  // Connections that were down before: are handed down as soon as they are decided, hot or not. Control.
  void expect(std::vector<FlowRef> flows);
  // One round. `look`: at everything that is down. True: there was something to do.
  bool round(bool look);
  void add_to(TableCounts& counts) const;

 private:
  static constexpr std::size_t kSection = 256;     // connections in one read section
  static constexpr std::uint8_t kWholePeriod = 2;  // looks
  static constexpr std::array kDirections = {Direction::kForward, Direction::kReply};
  enum class Stage : std::uint8_t {
    kUp,        // with the workers
    kEntering,  // its entry is being inserted
    kDown,
    kLeaving,  // its lease is withdrawn
    kUnlinked  // and its entry, counts and records are gone; the lease waits for the workers
  };
  // A direction of a connection.
  struct Way {
    isthmus_flow_key key{};
    std::uint32_t block = 0, hop = 0;
    std::uint16_t tunnel = 0, from = 0;
    Stage stage = Stage::kUp;
    bool inserted = false;
    bool outdated = false;  // at the last look that measured, with this sum of its lease
    std::uint32_t sum = 0;
  };
  struct Pair {
    FlowRef flow;
    std::array<Way, 2> ways;  // by Direction
    bool used = false;
    // Of the looks that measure: packets that XDP had forwarded at the last one, and between the last two.
    std::uint64_t looked = 0;
    std::uint32_t fresh = 0;
    std::uint8_t looks = 0;  // that it has been there for: none, one or more

    [[nodiscard]] std::pair<bool, std::uint32_t> heat() const noexcept { return {looks < kWholePeriod, fresh}; }
    [[nodiscard]] bool has(Stage stage) const noexcept { return ways[0].stage == stage || ways[1].stage == stage; }
  };
  // Unlinked, and waiting until every worker has passed a quiescent point.
  struct Leaver {
    std::uint32_t lease = 0;
    bool again = false;  // it may go down again at once
    std::uint64_t ticket = 0;
  };

  void run();
  [[nodiscard]] bool take_posts();
  void add_expected();
  // hand_down.cc
  void hand_down();
  void prepare(FlowRef flow);
  [[nodiscard]] bool prepare(std::uint32_t lease, const DirectionLine& line);
  // A direction of a connection that can.
  [[nodiscard]] bool able(const Connection& connection, Direction direction) const;
  [[nodiscard]] bool able(const DirectionBlock* block) const;
  [[nodiscard]] bool arrives_at_program(const DirectionBlock& block) const;
  [[nodiscard]] bool take_records(Way& way, const DirectionBlock& block);
  void insert();
  void grant(std::uint32_t lease);
  [[nodiscard]] static bool stands(const Way& way, const DirectionLine& line);
  // take_back.cc
  void look(bool measures);
  void look_at(std::uint32_t number, Seconds now, bool measures);
  void measure(std::uint32_t number);
  [[nodiscard]] LeaseState withdrawn(std::uint32_t lease) const;
  [[nodiscard]] bool heal(std::uint32_t lease, const Connection& connection) const;
  [[nodiscard]] bool forgotten(std::uint32_t lease);
  void make_room();
  void leave(std::uint32_t lease, LeaseState why);
  void take_back();
  void unlink(std::uint32_t lease, Leaver& leaver);
  [[nodiscard]] std::uint64_t forwarded(std::uint32_t number) const;
  void give_back_records(Way& way);
  void free_leases();
  [[nodiscard]] Pair& pair_of(std::uint32_t lease) { return pairs_[Leases::pair_of(lease)]; }
  [[nodiscard]] const Pair& pair_of(std::uint32_t lease) const { return pairs_[Leases::pair_of(lease)]; }
  [[nodiscard]] Way& way_of(std::uint32_t lease) { return pair_of(lease).ways[lease % 2]; }
  [[nodiscard]] const Way& way_of(std::uint32_t lease) const { return pair_of(lease).ways[lease % 2]; }
  [[nodiscard]] const Way& other_of(std::uint32_t lease) const { return pair_of(lease).ways[1 - lease % 2]; }
  [[nodiscard]] std::size_t used() const noexcept { return pairs_.size() - 1 - free_.size(); }

  SharedState& shared_;
  std::shared_ptr<KernelFlows> maps_;
  unsigned workers_;
  std::mutex mutex_;
  std::vector<FlowRef> expected_;  // under mutex_
  unsigned looks_left_ = 0;        // until they are expected no longer
  KernelRecords records_;
  std::vector<Pair> pairs_;  // by number; 0 is nobody's
  std::vector<std::uint32_t> free_;
  std::array<std::atomic<bool>, std::tuple_size_v<KernelEgresses>> egress_{};
  std::atomic<std::uint64_t> ingress_{0};  // a bit for each device
  // The thread's own.
  KernelEgresses egresses_{};  // as of this round
  std::vector<FlowRef> candidates_;
  std::vector<std::uint32_t> entering_, leaving_, erased_;  // leases; the last: programs may use them still
  std::size_t one_way_ = 0;                                 // pairs with one direction in use
  std::vector<isthmus_flow_key> keys_;
  std::vector<isthmus_flow> flows_;
  std::deque<Leaver> unlinked_;  // by ticket
  bool look_again_ = false;      // a key was in the map already: somebody has to be taken back
  std::array<Counter, kLeaseStates> taken_back_;
  Counter handed_down_, hand_down_insert_failures_, hand_down_no_room_, hand_down_wait_failures_;
  std::atomic<std::size_t> now_{0}, one_way_now_{0};

  std::mutex sleep_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace isthmus
