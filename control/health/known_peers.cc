#include "control/health/known_peers.h"

#include <sstream>
#include <utility>

namespace isthmus {
namespace {

constexpr std::chrono::microseconds::rep kNever = -1;

}  // namespace

std::string known_peers_text(std::span<const KnownPeer> known, std::size_t most) {
  std::string text;
  for (const KnownPeer& peer : known) {
    std::ostringstream line;
    line << peer.cluster.value() << ' ' << peer.unreachable << ' ' << peer.draining << ' ' << peer.answers_needed << ' '
         << peer.penalty << ' ' << peer.round_trip.count() << ' ' << (peer.silent ? peer.silent->count() : kNever)
         << ' ' << peer.gateway << '\n';
    if (text.size() + line.str().size() > most) {
      break;
    }
    text += line.str();
  }
  return text;
}

std::vector<KnownPeer> parse_known_peers(std::string_view text) {
  std::vector<KnownPeer> known;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    KnownPeer peer;
    std::uint16_t cluster = 0;
    std::chrono::microseconds::rep round_trip = 0, silent = 0;
    words >> cluster >> peer.unreachable >> peer.draining >> peer.answers_needed >> peer.penalty >> round_trip >>
        silent >> std::ws;
    if (words && round_trip >= 0 && silent >= kNever && std::getline(words, peer.gateway)) {
      peer.cluster = ClusterId{cluster};
      peer.round_trip = std::chrono::microseconds(round_trip);
      if (silent != kNever) {
        peer.silent = std::chrono::microseconds(silent);
      }
      known.push_back(std::move(peer));
    }
  }
  return known;
}

}  // namespace isthmus
