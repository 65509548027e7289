// How long a packet the underlay carries to each peer: learned from what its routers say, and by probing, so that a
// path that silently loses what is too long is found, and found again when it carries more (RFC 8899).
//
// Owner: control/daemon. Thread: control. A pure state machine as health.h: it knows only the times it is given, sends
// through a callback, and cannot fail. All sizes are bytes of outer IP packets. Use:
//   set_peers(...) when peers or the device's MTU change; tick(now) at next_due(); answer(...) for each answer to a
//   sized probe; claim(...) for each router that says a packet was too long; then take_changes().
//
// Rules:
// - A path is taken to carry what the device takes, until it has been shown not to.
// - A check sends kWays probes of the path's MTU by ways drawn at random, since the underlay may have several that are
//   equal, of which one is broken: a flow's outer port says which it takes. All are answered, and there is nothing to
//   do; or a search begins, by one of those of which none has come.
// - A path carries what the worst of its ways does. Whether it carries more again is asked by the way that was the
// worst.
// - A search knows a size that has been answered in it, `good`, and one beyond that which is not, `bad`. In each round
// it
//   sends `good` again and some sizes between the two. What is answered raises `good`. Only a round in which `good` is
//   answered says anything of the others: the peer lives then and takes such probes, and what was lost was too long, or
//   lost by chance; after kStrikes such rounds, without a success in between, the shortest of them is `bad`. It ends
//   when nothing lies between the two. A peer that answers no probe of any size changes nothing: it may not know them.
// - As soon as the path's MTU itself has been found `bad`, `good` takes its place, and rises with the search.
// - A router's claim begins a search that asks for that size and the next longer one first. Nothing follows from the
// claim
//   itself where the peer answers probes: anybody may send one. Where it does not (a kernel's tunnel end), the claim is
//   taken, for kClaimHold, unless it is below what every path carries.
// - A path that carries less than the device takes is searched at each check, upwards from what it carries.
// - A path that another process has searched begins with what that one has found, as if found here.
// - A path on which probes have found less than the device takes, in two searches one after the other, and of which no
//   router has said as little since kClaimHold, is a black hole: whoever sends through it without us is told nothing.
//   Anybody may send a claim, which hides that, and nothing else.
// - A peer that has never answered gets one probe more at each check, of what passes anywhere, and no search.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "control/health/health.h"
#include "dataplane/api/engine.h"
#include "dataplane/api/tables.h"

namespace isthmus {

struct PathMtuOptions {
  std::chrono::nanoseconds interval = std::chrono::milliseconds(kDefaultPathMtuIntervalMs);  // 0: nothing is probed
  std::uint64_t seed = 1;
};

struct PathMtuPeer {
  PeerId id;
  IpAddress underlay;
  Bytes most;  // that the device takes
  friend bool operator==(const PathMtuPeer&, const PathMtuPeer&) = default;
};

enum class PathMtuSource : std::uint8_t {
  kDevice,  // nothing is known to the contrary
  kClaim,   // a router of the underlay says so
  kProbes,
};

// What probes have found of a path that carries less than the device takes, worth knowing after this object's end.
struct KnownPath {
  IpAddress underlay;
  Bytes mtu;
  std::uint16_t way = 0;
  friend bool operator==(const KnownPath&, const KnownPath&) = default;
};

// For people: `isthmus status`.
struct PathMtuView {
  Bytes mtu;
  PathMtuSource source = PathMtuSource::kDevice;
  bool black_hole = false;  // lastingly, what is longer than `mtu` is lost without a word
};

// As Engine::send_probe() has it.
struct SizedProbe {
  PeerId peer;
  std::uint32_t sequence = 0;
  Bytes bytes;
  std::uint16_t way = 0;
};

class PathMtus {
 public:
  using Send = std::function<bool(const SizedProbe&)>;
  static constexpr unsigned kStrikes = 3;
  static constexpr unsigned kSizes = 8;   // of a round, besides `good`
  static constexpr unsigned kSilent = 5;  // rounds without any answer that end a search
  static constexpr unsigned kWays = 4;    // of a check
  static constexpr auto kClaimHold = std::chrono::minutes(10);

  PathMtus(const PathMtuOptions& options, Send send);

  // Those that may answer probes; the whole list. One that stays as it was keeps what is known of it.
  void set_peers(std::span<const PathMtuPeer> peers, HealthTime now);
  // What another process has found; a path of which this one has found nothing yet begins with it, and is checked.
  void remember(std::span<const KnownPath> known, HealthTime now);
  [[nodiscard]] std::vector<KnownPath> known() const;
  void tick(HealthTime now);
  void answer(PeerId peer, std::uint32_t sequence, HealthTime now);
  // Of any peer, those that are not probed too. `most`: what the device takes.
  void claim(const PathMtuClaim& claim, Bytes most, HealthTime now);
  // When tick() has work next; time_point::max(): none.
  [[nodiscard]] HealthTime next_due() const;

  // Since the last call: what the engine is to be told.
  [[nodiscard]] std::vector<PathMtu> take_changes();
  [[nodiscard]] std::map<PeerId, PathMtuView> views() const;
  // Whether views() may say otherwise than at the last call.
  [[nodiscard]] bool take_news() { return std::exchange(news_, false); }
  // Every path carries packets of so many bytes (RFC 8200 section 5; of IPv4, what Linux takes for the least).
  [[nodiscard]] static std::uint32_t least(Family underlay) { return underlay == Family::kIpv4 ? 552 : 1280; }

 private:
  static constexpr unsigned kLasting = 2;
  static constexpr unsigned kWindow = 32;  // probes that may still be answered, as OutstandingProbes has it
  struct Path {
    PathMtuPeer peer;
    bool probed = false;  // else it is there for a claim
    bool speaks = false;  // has answered a sized probe
    std::uint32_t mtu = 0;
    PathMtuSource source = PathMtuSource::kDevice;
    HealthTime due;
    HealthTime claim_until;  // of a claim that was taken
    std::uint32_t told = 0;  // what a router last said, taken or not; 0: none has
    HealthTime told_at;
    unsigned silences = 0;   // searches in a row that have found less than any router has said; kLasting at most
    std::uint32_t sent = 0;  // the number of the last probe
    std::array<std::uint32_t, kWindow> sizes{};
    std::array<HealthTime, kWindow> sent_at{};
    std::chrono::nanoseconds round_trip{0};                                   // 0: not known
    bool checking = false;                                                    // probes of `mtu` are on their ways
    std::array<std::pair<std::uint32_t, std::uint16_t>, kWays> unanswered{};  // of a check: sequence, way
    unsigned unanswered_count = 0;
    std::uint16_t way = 0;    // of the search
    std::uint16_t worst = 0;  // the way by which `mtu` was found
    bool searching = false;
    std::uint32_t good = 0, bad = 0;  // of the search
    std::uint32_t asked = 0;          // a size that a claim names; 0: none
    std::uint32_t suspect = 0;        // the shortest size above `good` in this round
    bool control_answered = false;    // `good` has been, in this round
    unsigned strikes = 0, silent = 0;
  };

  void recall(Path& path, HealthTime now);
  void check(Path& path, HealthTime now);
  void search(Path& path, std::uint16_t way, std::uint32_t good, std::uint32_t bad, HealthTime now);
  void begin_round(Path& path, HealthTime now);
  void end_round(Path& path, HealthTime now);
  void end_search(Path& path, HealthTime now);
  void note_claim(Path& path, std::uint32_t bytes, HealthTime now);
  void count_silence(Path& path, HealthTime now);
  void set_silences(Path& path, unsigned silences);
  // Returns its number.
  std::uint32_t send(Path& path, std::uint32_t bytes, std::uint16_t way, HealthTime now);
  [[nodiscard]] std::uint16_t any_way() { return static_cast<std::uint16_t>(random_()); }
  void set_mtu(Path& path, std::uint32_t mtu, PathMtuSource source);
  void rest(Path& path, HealthTime now);
  [[nodiscard]] static std::chrono::nanoseconds patience(const Path& path);

  PathMtuOptions options_;
  Send send_;
  std::mt19937_64 random_;
  std::map<PeerId, Path> paths_;
  std::map<PeerId, PathMtu> changes_;
  std::map<IpAddress, KnownPath> remembered_;
  bool news_ = false;
};

}  // namespace isthmus
