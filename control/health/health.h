// Which peers answer probes, which have become unreachable, and whether it is this gateway that is cut off.
//
// Owner: control/daemon. Thread: control. A pure state machine: it knows only the times it is given, sends through a
// callback, never sleeps, reads no clock, does no I/O, and cannot fail. Use:
//   health.set_peers(...) when the peers change; health.tick(now) at next_due() or earlier; health.answer(...) for each
//   probe answer (before tick() when both are at hand); then take_changes().
//
// Rules:
// - A peer that has never answered is untried and usable: it may not speak our probes at all. One that has answered
//   becomes unreachable after `misses` consecutive unanswered probes; an untried one only when meanwhile another
//   gateway of its own cluster answers, which shows that this cluster's gateways speak them.
// - Another peer must confirm it: one that answered a probe sent while the suspect missed its own, so that our own
//   link was up at that time. When all peers that still answered go down together, and they belong to two or more
//   clusters, we suspect our own link: isolated() is true and all stay usable until any of them answers.
//   (2026-11-22: peers of a single cluster cannot confirm for each other; when they all go down they are taken as
//   unreachable, because then only the backends of our own cluster are left, which is right in both cases.)
// - An answer may say that the gateway is drained. It gets nothing as long as another gateway of its cluster answers
//   and is not drained; where none does, it stays in use, since it forwards. When it then falls silent, it had said
//   so: that is no failure, and costs it nothing when it returns.
// - An unreachable peer recovers after `recover` consecutive answers, doubled for each earlier failure that has not
//   decayed yet, up to a cap. Answers to probes that are too old are ignored.
// - When tick() itself runs late, answers that may still be queued get time to be read before any peer is declared
//   down.
// - What an earlier process or object knew of peers is taken over by remember(): whoever starts beside a dead or a
//   drained peer does not begin by sending to it.
// - A cluster is unreachable when all its gateways are, and `ejected` after `hold` in that state: from then on
//   established flows leave it too.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "config/model/defaults.h"
#include "dataplane/api/types.h"

namespace isthmus {

using HealthClock = std::chrono::steady_clock;
using HealthTime = HealthClock::time_point;

struct HealthOptions {
  ClusterId cluster = kNoCluster;  // our own: never reported unreachable, whatever its other gateways do
  // Between probes of one peer, +-10 % jitter.
  std::chrono::nanoseconds interval = std::chrono::milliseconds(kDefaultHealthIntervalMs);
  unsigned misses = kDefaultHealthMisses;    // 1..kMaxHealthMisses
  unsigned recover = kDefaultHealthRecover;  // consecutive answers needed to recover from the first failure
  std::chrono::nanoseconds hold = std::chrono::milliseconds(kDefaultHealthHoldMs);
  unsigned penalty_cap = 64;  // upper bound of the factor that repeated failures put on `recover`
  std::chrono::nanoseconds penalty_decay = std::chrono::seconds(60);  // this long without a failure halves the penalty
  // Of the jitter and of the first number of each peer's probes: another for each process, which nobody can tell.
  std::uint64_t seed = 1;
};

// A gateway that answers probes: of another cluster, or another gateway of our own (which is good for confirming).
struct HealthPeer {
  PeerId id;
  ClusterId cluster;
  std::string gateway;
  friend bool operator==(const HealthPeer&, const HealthPeer&) = default;
};

enum class PeerState : std::uint8_t {
  kUntried,  // has never answered: usable
  kAlive,
  kSuspect,      // missed enough probes, not yet confirmed by another peer (or we are isolated): usable
  kUnreachable,  // not usable
};

// For people: `isthmus status`.
struct PeerHealth {
  HealthPeer peer;
  PeerState state = PeerState::kUntried;
  bool draining = false;        // its last answer said so
  HealthTime since;             // of this state
  unsigned missed = 0;          // consecutive unanswered probes
  unsigned answers_needed = 0;  // kUnreachable: consecutive answers still missing before it recovers
  unsigned penalty = 1;         // factor on `recover` after the next failure
  std::uint64_t failures = 0;   // times it became unreachable, ever
  std::uint64_t late_answers = 0;
  std::chrono::nanoseconds round_trip{0};  // of the last answer; 0: none yet
  HealthTime last_answer;                  // when it came; HealthTime(): none yet
};

// What is worth knowing of a peer after this object's end. By name: ids are one process's.
struct KnownPeer {
  ClusterId cluster;
  std::string gateway;
  bool unreachable = false;  // else it answers
  bool draining = false;
  unsigned answers_needed = 0, penalty = 1;
  std::chrono::microseconds round_trip{0};            // of the last answer
  std::optional<std::chrono::microseconds> silent{};  // since then; nullopt: it has never answered
  friend bool operator==(const KnownPeer&, const KnownPeer&) = default;
};

struct UnreachableCluster {
  ClusterId cluster;
  HealthTime since;
  bool ejected = false;  // unreachable for longer than `hold`
  friend bool operator==(const UnreachableCluster&, const UnreachableCluster&) = default;
};

// What happened since the last take_changes(), in no order; a peer that went down and recovered meanwhile is in both
// lists.
struct HealthChanges {
  std::vector<PeerId> peers_down, peers_recovered;
  std::vector<ClusterId> clusters_down, clusters_recovered, clusters_ejected;
  bool isolation_changed = false;
  bool draining_changed = false;  // which peers are left because they are drained, or which clusters are draining
  [[nodiscard]] bool empty() const {
    return peers_down.empty() && peers_recovered.empty() && clusters_down.empty() && clusters_recovered.empty() &&
           clusters_ejected.empty() && !isolation_changed && !draining_changed;
  }
};

class Health {
 public:
  // `another`: another gateway of the peer's cluster answers, and is not drained. False: the probe was not sent. It
  // counts as neither sent nor unanswered, and the next is due an interval later.
  using Send = std::function<bool(PeerId, std::uint32_t sequence, bool another)>;

  // Options out of range are clamped (interval at least 1 ms, misses 1..kMaxHealthMisses, recover and penalty_cap at
  // least 1).
  Health(const HealthOptions& options, Send send);

  // The whole list. Peers that stay keep their state; one whose cluster or gateway name changed is new. Sends no
  // probe.
  void set_peers(std::span<const HealthPeer> peers, HealthTime now);
  // Of peers, those that come later among them, until they have answered a probe of ours.
  void remember(std::span<const KnownPeer> known, HealthTime now);
  [[nodiscard]] std::vector<KnownPeer> known(HealthTime now) const;  // those out of use first; not untried ones
  // Sends the probes that are due and evaluates the missing answers.
  void tick(HealthTime now);
  // An answer to a probe; `draining`: it says so. Unknown peers and sequence numbers are ignored.
  void answer(PeerId peer, std::uint32_t sequence, bool draining, HealthTime now);
  // When tick() has work next; time_point::max() without peers.
  [[nodiscard]] HealthTime next_due() const;

  [[nodiscard]] bool usable(PeerId peer) const;                                  // true for unknown peers
  [[nodiscard]] std::vector<PeerId> unusable_peers() const;                      // sorted
  [[nodiscard]] std::vector<PeerId> unreachable_peers() const;                   // sorted
  [[nodiscard]] const std::vector<PeerId>& left_peers() const { return left_; }  // drained, while others serve; sorted
  [[nodiscard]] std::vector<ClusterId> draining_clusters() const;  // sorted; in use, by drained gateways alone
  [[nodiscard]] std::vector<UnreachableCluster> unreachable_clusters() const;  // sorted by cluster
  [[nodiscard]] bool isolated() const { return isolated_; }
  [[nodiscard]] HealthTime isolated_since() const { return isolated_since_; }
  // It is isolated, or was at `now - span` or since.
  [[nodiscard]] bool isolated_within(std::chrono::nanoseconds span, HealthTime now) const {
    return isolated_ || (isolation_ended_ && now - *isolation_ended_ <= span);
  }
  [[nodiscard]] std::vector<PeerHealth> peers() const;  // sorted by id

  [[nodiscard]] HealthChanges take_changes();

 private:
  static constexpr unsigned kWindow = 32;  // probes whose send times are remembered; a power of two above misses

  struct Peer {
    HealthPeer peer;
    PeerState state = PeerState::kUntried;
    bool draining = false;
    bool tried = false;  // has answered a probe of this object
    HealthTime since, due;
    bool postponed = false;                // `due` was put off once because tick() ran late
    std::uint32_t sent = 0, answered = 0;  // sequence numbers; leave_isolation() moves `answered` too
    std::array<HealthTime, kWindow> sent_at{};
    std::array<bool, kWindow> was_answered{};  // that probe was answered: the peer and our link were up after it
    HealthTime last_answer;
    // kSuspect, kUntried: a peer that answered a probe sent in this time confirms.
    HealthTime confirmed_from, confirmed_until;
    unsigned streak = 0, needed = 0;  // kUnreachable: consecutive answers, and how many it takes
    std::uint32_t streak_end = 0;     // sequence number of the last of them
    unsigned penalty = 1;
    HealthTime penalty_since;  // when the penalty last changed, or the peer recovered
    std::uint64_t failures = 0, late_answers = 0;
    std::chrono::nanoseconds round_trip{0};

    [[nodiscard]] unsigned missed() const { return sent - answered; }
    [[nodiscard]] bool answers() const { return state == PeerState::kAlive || state == PeerState::kSuspect; }
    [[nodiscard]] bool serves() const { return answers() && !draining; }
  };
  // Of a cluster's gateways.
  struct Count {
    unsigned serving = 0, draining = 0, unreachable = 0, all = 0;
    // None is left but drained ones, which answer.
    [[nodiscard]] bool is_draining() const { return draining > 0 && draining + unreachable == all; }
  };

  void check_and_probe(Peer& peer, HealthTime now);
  void probe(Peer& peer, HealthTime now);
  void extend_confirmation_window(Peer& peer, HealthTime now) const;
  void resolve_suspects(HealthTime now);
  // By any peer, or by gateways of its own cluster.
  [[nodiscard]] bool is_confirmed(const Peer& suspect, bool own_cluster) const;
  void doubt_untried(Peer& peer, HealthTime now);
  [[nodiscard]] bool recall(Peer& peer, HealthTime now) const;
  void mark_unreachable(Peer& peer, HealthTime now);
  void count_towards_recovery(Peer& peer, std::uint32_t sequence, HealthTime now);
  static void set_state(Peer& peer, PeerState state, HealthTime now);
  void set_isolated(bool isolated, HealthTime now);
  void leave_isolation(HealthTime now);
  void update_clusters(HealthTime now);
  void update_draining();
  [[nodiscard]] bool has_another(const Peer& peer) const;
  [[nodiscard]] std::chrono::nanoseconds jittered();

  HealthOptions options_;
  Send send_;
  std::mt19937_64 random_;
  std::map<PeerId, Peer> peers_;
  std::map<std::pair<ClusterId, std::string>, KnownPeer> remembered_;
  std::map<ClusterId, Count> counts_;
  std::vector<PeerId> left_;  // sorted: drained, while others of their cluster serve
  std::vector<ClusterId> draining_clusters_;
  std::map<ClusterId, UnreachableCluster> unreachable_clusters_;
  bool isolated_ = false;
  HealthTime isolated_since_;
  std::optional<HealthTime> isolation_ended_;  // the last one
  HealthChanges changes_;
};

}  // namespace isthmus
