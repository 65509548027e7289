// KernelRecords: which records of XDP's tables are in use: tunnel ends and next hops, each counted by the directions
// that name it.
//
// A tunnel record never changes while it is in use: a peer that is not the same any more gets another record, and the
// old one is stale, until nobody names it. A next hop's record follows its entry of the adjacency table
// (AdjacencyTable::mirror) until that is freed; whoever takes the entry next gets another record.
// Threads: one at a time (HandDown's mutex). Failure: 0, no record is free.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <unordered_map>
#include <vector>

#include "dataplane/handdown/record.h"
#include "dataplane/tables/adjacency_table.h"
#include "dataplane/tables/snapshot.h"
#include "xdp/abi.h"

namespace isthmus {

class KernelRecords {
 public:
  // The spans are XDP's; what is in them counts for nothing. All outlive this.
  KernelRecords(std::span<isthmus_tunnel> tunnels, std::span<isthmus_hop> hops, AdjacencyTable& adjacencies,
                const TunnelEnds& own);

  // Takes one more use of the record. 0: none can be had.
  [[nodiscard]] std::uint16_t take_tunnel(const PeerTable& peers, PeerId peer);
  [[nodiscard]] std::uint32_t take_hop(AdjacencyId next_hop);
  // No program uses it any more by whoever gives it back. 0: nothing.
  void give_back_tunnel(std::uint16_t number);
  void give_back_hop(std::uint32_t number);

  // Not what its peer is any more.
  [[nodiscard]] bool stale(std::uint16_t tunnel) const { return tunnel_uses_[tunnel].stale; }
  // Its next hop has been freed.
  [[nodiscard]] bool gone(std::uint32_t hop) const;
  // Peers that may have changed: makes their records stale where they have. True: one was in use.
  [[nodiscard]] bool compare(const PeerTable& peers, const std::set<PeerId>& changed);

 private:
  struct TunnelUse {
    PeerId peer;
    std::uint32_t uses = 0;
    bool stale = false;
  };
  struct HopUse {
    AdjacencyId next_hop;
    std::uint32_t incarnation = 0, uses = 0;
  };

  std::span<isthmus_tunnel> tunnels_;
  std::span<isthmus_hop> hops_;
  AdjacencyTable& adjacencies_;
  TunnelEnds own_;
  std::vector<TunnelUse> tunnel_uses_;  // by number
  std::vector<HopUse> hop_uses_;
  std::vector<std::uint16_t> free_tunnels_;
  std::vector<std::uint32_t> free_hops_;
  std::unordered_map<PeerId, std::uint16_t> tunnel_of_;    // those that are not stale
  std::unordered_map<AdjacencyId, std::uint32_t> hop_of_;  // the last one of each
};

}  // namespace isthmus
