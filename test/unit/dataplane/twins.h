// Two gateways that get the same packets and the same changes, of which the second decides everything anew, because all
// its epoch words move and its snapshots are replaced. What the first one keeps must come to the same. And changes of
// the fleet at random.
#pragma once

#include <array>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "test/support/path_rig.h"

namespace isthmus::test {

// Two more pods.
struct TwinActors : Actors {
  Endpoint second_client{ip("10.1.0.11"), 40000}, second_west{ip("10.2.0.11"), 9000};
};

// How many random runs a comparison of twins makes. ThreadSanitizer, which has nothing to find in one thread, takes
// minutes for each.
#if defined(__SANITIZE_THREAD__)
inline constexpr unsigned kTwinRuns = 2;
#else
inline constexpr unsigned kTwinRuns = 60;
#endif

class Twins {
 public:
  // When the second one forgets: after a change, or before each packet too.
  enum class Anew { kAfterChanges, kAlways };
  // Whether the two more pods have identities of their own, or those of the first two.
  enum class MorePods { kOfTheirOwn, kAlike };
  explicit Twins(Anew anew, MorePods pods = MorePods::kOfTheirOwn);

  template <typename Change>
  void change(Change&& change) {
    change(keeps);
    change(decides);
    forget();
  }
  void local(const PacketSpec& packet);
  void underlay(const PacketSpec& packet);
  // The connections of both: ends, sides and identities.
  void same_connections();
  // From a gateway of west that is live, as far as there is one: what comes from another says more than the tables do.
  void from_west(const PacketSpec& packet);

  PathRig keeps, decides;
  std::vector<PeerId> live{PathRig::kWestGateway};  // of west

 private:
  void forget();
  static void same(const PacketSpec& packet, Outcome a, Outcome b);

  Anew anew_;
  bool more_ = false;
};

using Random = std::mt19937;
[[nodiscard]] inline std::uint32_t any(Random& random, std::uint32_t below) {
  return static_cast<std::uint32_t>(random() % below);
}

// An endpoint comes, changes or goes.
void happen_to_endpoint(Twins& twins, Random& random);
// A service gets another backend, goes, gets another number; a pod's address becomes a VIP, or ceases to be one.
void happen_to_service(Twins& twins, Random& random);
// A gateway dies or returns, or is reached by another next hop.
void happen_to_peer(Twins& twins, Random& random);
// A pod's policy allows and denies other ports and identities.
void happen_to_policy(Twins& twins, Random& random);

// The underlay carries shorter or longer packets.
void happen_to_mtu(Twins& twins, Random& random);

}  // namespace isthmus::test
