// Which peers answer, which have fallen silent, and whether it is rather we who are cut off.
//
// Owner: control/daemon. Thread: control. A pure state machine: it knows only the times it is given, sends through a
// callback, never sleeps, reads no clock, does no I/O, and cannot fail. Use:
//   health.set_peers(...) when the peers change; health.tick(now) at next_due() or earlier; health.answer(...) for each
//   probe answer (before tick() when both are at hand); then take_changes().
//
// Rules:
// - A peer that has never answered is usable: it may not speak our probes at all. Only one that has answered can be
//   called silent: after `misses` probes in a row without an answer.
// - A fall needs a witness: another peer that answered a probe of between those that the suspect missed, so that our
// own
//   link was whole then. When every peer still heard falls together, and they are of two clusters or more, we suspect
//   ourselves: isolated() holds, all stay usable, until any of them answers. (2026-11-22: peers of one cluster only
//   cannot bear witness for us; their silence is believed, because the backends of our own cluster are then what is
//   left, and are right in both cases.)
// - A silent peer returns after `recover` answers in a row, twice as many for each earlier fall that is not yet
//   forgotten, up to a cap. Answers to probes that are too old count for nothing.
// - When we ourselves come late to tick(), what may still wait to be read is given time before anybody is judged.
// - A cluster is silent when all its gateways are; `held_out` when it has been so for longer than `hold`: then also
//   established flows leave it.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "dataplane/api/types.h"

namespace isthmus {

using HealthClock = std::chrono::steady_clock;
using HealthTime = HealthClock::time_point;

struct HealthOptions {
  ClusterId cluster = kNoCluster;  // our own: never among the silent ones, whatever its other gateways do
  std::chrono::nanoseconds interval = std::chrono::milliseconds(150);  // between probes of one peer, +-10 % jitter
  unsigned misses = 4;                                                 // 1..16
  unsigned recover = 5;                                                // answers in a row, for the first return
  std::chrono::nanoseconds hold = std::chrono::seconds(10);
  unsigned penalty_cap = 64;                                    // most that the falls of a peer multiply `recover` by
  std::chrono::nanoseconds forgive = std::chrono::seconds(60);  // this long without a fall halves the penalty
  std::uint64_t seed = 1;  // of the jitter; differs between gateways, so that they do not probe in lock-step
};

// A gateway that answers probes: of another cluster, or another gateway of our own (which makes a good witness).
struct HealthPeer {
  PeerId id;
  ClusterId cluster;
  std::string gateway;
  friend bool operator==(const HealthPeer&, const HealthPeer&) = default;
};

enum class PeerState : std::uint8_t {
  kUnknown,  // has never answered: usable
  kAlive,
  kSuspect,  // as many misses as make it silent, not yet believed (no witness, or we are isolated): usable
  kSilent,   // not usable
};

// For people: `isthmus status`.
struct PeerHealth {
  HealthPeer peer;
  PeerState state = PeerState::kUnknown;
  HealthTime since;             // of this state
  unsigned missed = 0;          // probes in a row without an answer
  unsigned answers_needed = 0;  // kSilent: answers in a row still missing before it returns
  unsigned penalty = 1;         // what the next fall multiplies `recover` by
  std::uint64_t falls = 0;      // ever
  std::uint64_t late_answers = 0;
  std::chrono::nanoseconds round_trip{0};  // of the last answer; 0: none yet
  HealthTime last_answer;                  // when it came; of no use in kUnknown
};

struct SilentCluster {
  ClusterId cluster;
  HealthTime since;
  bool held_out = false;  // silent for longer than `hold`
  friend bool operator==(const SilentCluster&, const SilentCluster&) = default;
};

// What happened since the last take_changes(), in no order; a peer that fell and returned meanwhile is in both lists.
struct HealthChanges {
  std::vector<PeerId> fell, returned;
  std::vector<ClusterId> clusters_fell, clusters_returned, clusters_held_out;
  bool isolation_changed = false;
  [[nodiscard]] bool empty() const {
    return fell.empty() && returned.empty() && clusters_fell.empty() && clusters_returned.empty() &&
           clusters_held_out.empty() && !isolation_changed;
  }
};

class Health {
 public:
  using Send = std::function<void(PeerId, std::uint32_t sequence)>;

  // Values out of range are brought into it (interval at least 1 ms, misses 1..16, recover at least 1).
  Health(const HealthOptions& options, Send send);

  // The whole list. Peers that stay keep their state; one whose cluster or gateway name changed is new. No probe is
  // sent from here.
  void set_peers(std::span<const HealthPeer> peers, HealthTime now);
  // Sends the probes that are due and judges who did not answer.
  void tick(HealthTime now);
  // An answer to a probe. Unknown peers and sequence numbers are ignored.
  void answer(PeerId peer, std::uint32_t sequence, HealthTime now);
  // When tick() has work next; time_point::max() without peers.
  [[nodiscard]] HealthTime next_due() const;

  [[nodiscard]] bool usable(PeerId peer) const;                      // true for peers we do not know
  [[nodiscard]] std::vector<PeerId> silent_peers() const;            // sorted
  [[nodiscard]] std::vector<SilentCluster> silent_clusters() const;  // sorted by cluster
  [[nodiscard]] bool isolated() const { return isolated_; }
  [[nodiscard]] HealthTime isolated_since() const { return isolated_since_; }
  [[nodiscard]] std::vector<PeerHealth> peers() const;  // sorted by id

  [[nodiscard]] HealthChanges take_changes();

 private:
  static constexpr unsigned kWindow = 32;  // probes whose send times are remembered; a power of two above misses

  struct Peer {
    HealthPeer peer;
    PeerState state = PeerState::kUnknown;
    HealthTime since, due;
    bool postponed = false;                // `due` was put off once because we came late ourselves
    std::uint32_t sent = 0, answered = 0;  // sequence numbers; `answered` also moves when misses are forgiven
    std::array<HealthTime, kWindow> sent_at{};
    std::array<bool, kWindow> proven{};  // that probe was answered: the peer and our link were whole after it
    HealthTime last_answer;
    HealthTime witness_from, witness_until;  // kSuspect: who answered a probe sent in this time bears witness
    unsigned streak = 0, needed = 0;         // kSilent: answers in a row, and how many it takes
    std::uint32_t streak_end = 0;            // the last of them
    unsigned penalty = 1;
    HealthTime penalty_since;  // when the penalty last changed, or the peer returned
    std::uint64_t falls = 0, late_answers = 0;
    std::chrono::nanoseconds round_trip{0};

    [[nodiscard]] unsigned missed() const { return sent - answered; }
  };

  void visit(Peer& peer, HealthTime now);
  void probe(Peer& peer, HealthTime now);
  void extend_silence(Peer& peer, HealthTime now) const;
  void resolve_suspects(HealthTime now);
  [[nodiscard]] bool has_witness(const Peer& suspect) const;
  void fall(Peer& peer, HealthTime now);
  void count_towards_return(Peer& peer, std::uint32_t sequence, HealthTime now);
  static void enter(Peer& peer, PeerState state, HealthTime now);
  void set_isolated(bool isolated, HealthTime now);
  void leave_isolation(HealthTime now);
  void update_clusters(HealthTime now);
  [[nodiscard]] std::chrono::nanoseconds jittered();

  HealthOptions options_;
  Send send_;
  std::mt19937_64 random_;
  std::map<PeerId, Peer> peers_;
  std::map<ClusterId, SilentCluster> silent_clusters_;
  bool isolated_ = false;
  HealthTime isolated_since_;
  HealthChanges changes_;
};

}  // namespace isthmus
