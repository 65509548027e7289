#include "dataplane/handdown/records.h"

#include <cstring>

namespace isthmus {

KernelRecords::KernelRecords(std::span<isthmus_tunnel> tunnels, std::span<isthmus_hop> hops,
                             AdjacencyTable& adjacencies, const TunnelEnds& own)
    : tunnels_(tunnels),
      hops_(hops),
      adjacencies_(adjacencies),
      own_(own),
      tunnel_uses_(tunnels.size()),
      hop_uses_(hops.size()) {
  for (std::size_t number = tunnels.size() - 1; number > 0; --number) {
    free_tunnels_.push_back(static_cast<std::uint16_t>(number));
  }
  for (std::size_t number = hops.size() - 1; number > 0; --number) {
    free_hops_.push_back(static_cast<std::uint32_t>(number));
  }
}

std::uint16_t KernelRecords::take_tunnel(const PeerTable& peers, PeerId peer) {
  const auto content = tunnel_of(peers[peer], own_);
  if (!content) {
    return 0;
  }
  if (const auto known = tunnel_of_.find(peer); known != tunnel_of_.end()) {
    if (std::memcmp(&tunnels_[known->second], &*content, sizeof *content) == 0) {
      ++tunnel_uses_[known->second].uses;
      return known->second;
    }
    tunnel_uses_[known->second].stale = true;
    tunnel_of_.erase(known);
  }
  if (free_tunnels_.empty()) {
    return 0;
  }
  const std::uint16_t number = free_tunnels_.back();
  free_tunnels_.pop_back();
  tunnels_[number] = *content;
  tunnel_uses_[number] = {peer, 1, false};
  tunnel_of_[peer] = number;
  return number;
}

std::uint32_t KernelRecords::take_hop(AdjacencyId next_hop) {
  const std::uint32_t incarnation = adjacencies_.incarnation(next_hop);
  if (next_hop == kNoAdjacency || (incarnation & 1) == 0) {
    return 0;
  }
  const auto known = hop_of_.find(next_hop);
  if (known != hop_of_.end() && hop_uses_[known->second].incarnation == incarnation) {
    ++hop_uses_[known->second].uses;
    return known->second;
  }
  if (free_hops_.empty()) {
    return 0;
  }
  const std::uint32_t number = free_hops_.back();
  free_hops_.pop_back();
  hops_[number] = {};
  hop_uses_[number] = {next_hop, incarnation, 1};
  hop_of_[next_hop] = number;
  adjacencies_.mirror(next_hop, incarnation, &hops_[number]);
  return number;
}

void KernelRecords::give_back_tunnel(std::uint16_t number) {
  TunnelUse& use = tunnel_uses_[number];
  if (number == 0 || --use.uses != 0) {
    return;
  }
  if (!use.stale) {
    tunnel_of_.erase(use.peer);
  }
  use = {};
  free_tunnels_.push_back(number);
}

void KernelRecords::give_back_hop(std::uint32_t number) {
  HopUse& use = hop_uses_[number];
  if (number == 0 || --use.uses != 0) {
    return;
  }
  adjacencies_.mirror(use.next_hop, use.incarnation, nullptr);
  if (const auto known = hop_of_.find(use.next_hop); known != hop_of_.end() && known->second == number) {
    hop_of_.erase(known);
  }
  use = {};
  free_hops_.push_back(number);
}

bool KernelRecords::gone(std::uint32_t hop) const {
  const HopUse& use = hop_uses_[hop];
  return adjacencies_.incarnation(use.next_hop) != use.incarnation;
}

bool KernelRecords::compare(const PeerTable& peers, const std::set<PeerId>& changed) {
  bool any = false;
  for (const PeerId peer : changed) {
    const auto known = tunnel_of_.find(peer);
    if (known == tunnel_of_.end()) {
      continue;
    }
    const auto content = tunnel_of(peers[peer], own_);
    if (!content || std::memcmp(&tunnels_[known->second], &*content, sizeof *content) != 0) {
      tunnel_uses_[known->second].stale = true;
      tunnel_of_.erase(known);
      any = true;
    }
  }
  return any;
}

}  // namespace isthmus
