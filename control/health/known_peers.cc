#include "control/health/known_peers.h"

#include <optional>
#include <sstream>
#include <utility>

namespace isthmus {
namespace {

constexpr std::chrono::microseconds::rep kNever = -1;
constexpr std::string_view kPath = "path";

std::string line_of(const KnownPeer& peer) {
  std::ostringstream line;
  line << peer.cluster.value() << ' ' << peer.unreachable << ' ' << peer.draining << ' ' << peer.answers_needed << ' '
       << peer.penalty << ' ' << peer.round_trip.count() << ' ' << (peer.silent ? peer.silent->count() : kNever) << ' '
       << peer.gateway << '\n';
  return line.str();
}

std::string line_of(const KnownPath& path) {
  std::ostringstream line;
  line << kPath << ' ' << path.underlay.to_string() << ' ' << path.mtu.value() << ' ' << path.way << '\n';
  return line.str();
}

std::optional<KnownPeer> peer_of(const std::string& line) {
  std::istringstream words(line);
  KnownPeer peer;
  std::uint16_t cluster = 0;
  std::chrono::microseconds::rep round_trip = 0, silent = 0;
  words >> cluster >> peer.unreachable >> peer.draining >> peer.answers_needed >> peer.penalty >> round_trip >>
      silent >> std::ws;
  if (!words || round_trip < 0 || silent < kNever || !std::getline(words, peer.gateway)) {
    return std::nullopt;
  }
  peer.cluster = ClusterId{cluster};
  peer.round_trip = std::chrono::microseconds(round_trip);
  if (silent != kNever) {
    peer.silent = std::chrono::microseconds(silent);
  }
  return peer;
}

std::optional<KnownPath> path_of(const std::string& line) {
  std::istringstream words(line);
  std::string kind, address;
  std::uint32_t mtu = 0;
  std::uint16_t way = 0;
  words >> kind >> address >> mtu >> way;
  const auto underlay = IpAddress::parse(address);
  if (!words || kind != kPath || !underlay) {
    return std::nullopt;
  }
  return KnownPath{*underlay, Bytes{mtu}, way};
}

}  // namespace

std::string known_peers_text(const KnownPeers& known, std::size_t most) {
  std::string text;
  const auto add = [&](const auto& rows) {
    for (const auto& row : rows) {
      const std::string line = line_of(row);
      if (text.size() + line.size() > most) {
        return;
      }
      text += line;
    }
  };
  add(known.peers);
  add(known.paths);
  return text;
}

KnownPeers parse_known_peers(std::string_view text) {
  KnownPeers known;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    if (auto peer = peer_of(line)) {
      known.peers.push_back(*std::move(peer));
    } else if (const auto path = path_of(line)) {
      known.paths.push_back(*path);
    }
  }
  return known;
}

}  // namespace isthmus
