// Container port names resolved to numbers, per identity: the union over the identity's pods. Thread: control.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/model/model.h"
#include "control/policy/local_identities.h"
#include "dataplane/api/types.h"

namespace isthmus {

class NamedPorts {
 public:
  // Re-reads the named ports of a pod (key of kind kPod) or ipcache address (kAddress). Adds to `changed` the
  // identities for which a name now resolves to other numbers.
  void refresh(const ObjectKey& pod, const Model& model, const LocalIdentities& local, std::set<Identity>& changed);
  // The numbers of a named port of the identity's pods, sorted.
  [[nodiscard]] std::vector<std::uint16_t> numbers(const std::string& name, std::uint8_t protocol, Identity of) const;
  // The identities with pods that have a port of this name, sorted.
  [[nodiscard]] std::vector<Identity> identities(const std::string& name, std::uint8_t protocol) const;

 private:
  struct Pod {
    Identity identity;
    std::vector<ServicePort> ports;
    friend bool operator==(const Pod&, const Pod&) = default;
  };
  using Name = std::pair<std::string, std::uint8_t>;
  void count(const Pod& pod, bool add, std::set<Identity>& changed);

  std::map<ObjectKey, Pod> pods_;  // only pods that have named ports and an identity
  std::map<Identity, std::map<Name, std::map<std::uint16_t, std::size_t>>>
      ports_;  // number of pods with each port number
};

}  // namespace isthmus
