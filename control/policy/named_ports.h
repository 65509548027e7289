// Container port names resolved to numbers, pod by pod. Pods that have ports by names that rules use receive for an
// identity of their own (dataplane/api/policy.h, Receiver): one for all pods of one identity with the same such ports.
//
// Owner: PolicySet. Thread: control. Cost: of the pods that change; of all pods with named ports when a name comes into
// use or goes out of it. Failure: none.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/compile/id_pool.h"
#include "control/model/model.h"
#include "control/policy/local_identities.h"
#include "dataplane/api/tables.h"

namespace isthmus {

class NamedPorts {
 public:
  using Name = std::pair<std::string, std::uint8_t>;          // with its protocol
  using Ports = std::vector<std::pair<Name, std::uint16_t>>;  // sorted
  // Receivers that came, and that went with the ports that they had. A number may have done both, as another receiver.
  struct Changes {
    std::set<Identity> added;
    std::map<Identity, Ports> removed;
  };

  // The fleet's clusters, by name, and how far an identity number is shifted right to be one's id: a pod has an
  // identity of its own cluster, so that no member says what the ports of another's pods are called.
  void set_clusters(std::map<std::string, ClusterId> ids, unsigned shift);
  // Re-reads a pod (key of kind kPod) or ipcache address (kAddress).
  void refresh(const ObjectKey& pod, const Model& model, const LocalIdentities& local);
  // A rule that names this port came, or went.
  void use(const std::string& name, std::uint8_t protocol);
  void disuse(const std::string& name, std::uint8_t protocol);
  // Brings the receivers up to date with all changes since the last call, and appends them to the delta.
  [[nodiscard]] Changes settle(const Model& model, TableDelta& delta);

  // The ports that rules name, of a receiver's pods, as long as it has them; null: no receiver.
  [[nodiscard]] const Ports* ports_of(Identity receiver) const;
  // The numbers of a port that a rule names, of a receiver's pods, sorted. Other identities have none.
  [[nodiscard]] std::vector<std::uint16_t> numbers(const std::string& name, std::uint8_t protocol, Identity of) const;
  // The receivers that have a port of this name, sorted.
  [[nodiscard]] std::vector<Identity> receivers(const std::string& name, std::uint8_t protocol) const;
  // The receivers of an identity's pods.
  [[nodiscard]] std::set<Identity> receivers_of(Identity identity) const;
  // The identity that the receiver's pods have. Precondition: it is a receiver.
  [[nodiscard]] Identity identity_of(Identity receiver) const { return by_number_.at(receiver)->first.first; }
  // As what the endpoint of this address and identity receives; nothing if it has no port that a rule names.
  [[nodiscard]] std::optional<Identity> receiver_at(const IpAddress& address, Identity identity) const;

 private:
  struct Pod {
    Identity identity;
    Ports ports;
    bool local = false;  // one of LocalIdentities
    friend bool operator==(const Pod&, const Pod&) = default;
  };
  struct Group {
    Identity number;
    std::size_t pods = 0;
  };
  using Groups = std::map<std::pair<Identity, Ports>, Group>;
  struct Placed {
    Groups::iterator group;
    std::vector<IpAddress> addresses;
  };
  using Place = std::pair<IpAddress, Identity>;
  using Before = std::map<Place, std::optional<Identity>>;  // as what was received at the places that are touched

  void place(const ObjectKey& key, const Model& model, Changes& changes, Before& before);
  [[nodiscard]] Groups::iterator join(Identity identity, const Ports& ports, Changes& changes);
  void leave(Groups::iterator group, Changes& changes);
  [[nodiscard]] Ports used_of(const Ports& ports) const;
  [[nodiscard]] bool is_own(const ObjectKey& key, const Pod& pod) const;

  std::map<std::string, ClusterId> clusters_;
  unsigned shift_ = 16;
  std::map<ObjectKey, Pod> pods_;  // only pods that have named ports and an identity
  std::set<ObjectKey> dirty_;
  std::map<Name, std::size_t> used_;  // number of rules
  std::set<Name> switched_;           // came into use or went out of it
  std::map<ObjectKey, Placed> placed_;
  std::map<Place, std::map<ObjectKey, Identity>> places_;  // of several pods at one place the first counts
  Groups groups_;
  std::map<Identity, Groups::iterator> by_number_;
  IdPool<Identity> pool_{kQuarantine};
  static constexpr std::size_t kQuarantine = 1024;
};

}  // namespace isthmus
