// A simulated fleet around one Health: gateways that answer, are dead, lose or delay packets. Time moves only in run()
// and stall().
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/health/health.h"

namespace isthmus::test {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr auto kSecond = seconds(1);

struct SimulatedPeer {
  HealthPeer peer;
  bool up = true, draining = false;
  double loss = 0;                                     // share of probes whose probe or answer is lost, 0 to 1
  nanoseconds delay = milliseconds(1);                 // from probe to answer
  bool another = false;                                // what the last probe said
  std::vector<std::pair<std::uint32_t, bool>> probes;  // sequence number, answered in time or not (yet)
};

class FleetSimulator {
 public:
  explicit FleetSimulator(const HealthOptions& options, std::uint64_t seed = 1)
      : options_(options), random_(seed), health_(options, [this](PeerId id, std::uint32_t sequence, bool another) {
          peers_.at(id).another = another;
          return sends_ && on_probe(id, sequence);
        }) {}

  void add(unsigned id, unsigned cluster) {
    SimulatedPeer& peer = peers_[PeerId{id}];
    peer.peer = {PeerId{id}, ClusterId{static_cast<std::uint16_t>(cluster)}, "gateway-" + std::to_string(id)};
    set_peers();
  }
  void remove(unsigned id) {
    peers_.erase(PeerId{id});
    set_peers();
  }
  SimulatedPeer& operator[](unsigned id) { return peers_.at(PeerId{id}); }
  std::map<PeerId, SimulatedPeer>& peers() { return peers_; }
  Health& health() { return health_; }
  [[nodiscard]] HealthTime now() const { return now_; }
  // Whether our own link works.
  void set_connected(bool connected) { connected_ = connected; }
  // Whether the engine takes our probes.
  void set_sends(bool sends) { sends_ = sends; }
  // The gateway's process does not run for `time`; what arrives meanwhile waits.
  void stall(nanoseconds time) { now_ += time; }

  // Advances time by `time`, event by event; calls `after_step` after each.
  template <typename AfterStep>
  void run(nanoseconds time, AfterStep after_step) {
    const HealthTime end = now_ + time;
    while (now_ < end) {
      now_ = std::min(end, std::max(now_, std::min(next_answer(), health_.next_due())));
      deliver();
      health_.tick(now_);
      take_changes();
      after_step();
      now_ += nanoseconds(1);
    }
  }
  void run(nanoseconds time) {
    run(time, [] {});
  }

  // The state that the changes reported so far add up to.
  std::set<PeerId> mirrored_peers, mirrored_unusable;
  std::set<ClusterId> mirrored_clusters;
  bool mirrored_isolation = false;
  std::map<PeerId, HealthTime> down_at;
  std::vector<std::pair<HealthTime, PeerId>> failures, recoveries;
  std::uint64_t probes_sent = 0;

 private:
  struct Answer {
    PeerId peer;
    std::uint32_t sequence;
    bool draining;
  };
  void set_peers() {
    std::vector<HealthPeer> list;
    for (const auto& [id, peer] : peers_) {
      list.push_back(peer.peer);
    }
    health_.set_peers(list, now_);
    for (auto* mirrored : {&mirrored_peers, &mirrored_unusable}) {
      std::erase_if(*mirrored, [this](PeerId id) { return !peers_.contains(id); });
    }
    take_changes();
  }
  bool on_probe(PeerId id, std::uint32_t sequence) {
    ++probes_sent;
    SimulatedPeer& peer = peers_.at(id);
    peer.probes.emplace_back(sequence, false);
    const bool lost = std::uniform_real_distribution<>(0, 1)(random_) < peer.loss;
    if (peer.up && connected_ && !lost) {
      answers_.emplace(now_ + peer.delay, Answer{id, sequence, peer.draining});
    }
    return true;
  }
  [[nodiscard]] HealthTime next_answer() const {
    return answers_.empty() ? HealthTime::max() : answers_.begin()->first;
  }
  void deliver() {
    while (!answers_.empty() && answers_.begin()->first <= now_) {
      const auto [id, sequence, draining] = answers_.begin()->second;
      answers_.erase(answers_.begin());
      if (!connected_) {
        continue;
      }
      if (const auto at = peers_.find(id); at != peers_.end()) {
        for (auto& [sent, answered] : at->second.probes) {
          answered = answered || sent == sequence;
        }
      }
      health_.answer(id, sequence, draining, now_);
    }
  }
  void take_changes() {
    const HealthChanges changes = health_.take_changes();
    if (!changes.empty()) {
      const auto unusable = health_.unusable_peers();
      mirrored_unusable = {unusable.begin(), unusable.end()};
    }
    for (const PeerId id : changes.peers_down) {
      mirrored_peers.insert(id);
      down_at[id] = now_;
      failures.emplace_back(now_, id);
    }
    for (const PeerId id : changes.peers_recovered) {
      mirrored_peers.erase(id);
      recoveries.emplace_back(now_, id);
    }
    for (const ClusterId cluster : changes.clusters_down) {
      mirrored_clusters.insert(cluster);
    }
    for (const ClusterId cluster : changes.clusters_recovered) {
      mirrored_clusters.erase(cluster);
    }
    mirrored_isolation = mirrored_isolation != changes.isolation_changed;
  }

  HealthOptions options_;
  std::mt19937_64 random_;
  HealthTime now_{seconds(1000)};
  std::map<PeerId, SimulatedPeer> peers_;
  std::multimap<HealthTime, Answer> answers_;
  bool connected_ = true, sends_ = true;
  Health health_;
};

}  // namespace isthmus::test
