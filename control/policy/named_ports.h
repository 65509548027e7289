// What container ports' names mean, by identity: the union over the identity's pods. Thread: control.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/model/model.h"
#include "dataplane/api/types.h"

namespace isthmus {

class NamedPorts {
 public:
  // Reads again what a pod (a key of kind kPod) says. Adds the identities for which a name means something else now.
  void refresh(const ObjectKey& pod, const Model& model, std::set<Identity>& moved);
  // Sorted. `of` null: whoever it is.
  [[nodiscard]] std::vector<std::uint16_t> numbers(const std::string& name, std::uint8_t protocol,
                                                   const std::vector<Identity>* of) const;

 private:
  struct Pod {
    Identity identity;
    std::vector<ServicePort> ports;
    friend bool operator==(const Pod&, const Pod&) = default;
  };
  using Name = std::pair<std::string, std::uint8_t>;
  void count(const Pod& pod, bool add, std::set<Identity>& moved);

  std::map<ObjectKey, Pod> pods_;  // those with named ports and an identity
  std::map<Identity, std::map<Name, std::map<std::uint16_t, std::size_t>>> ports_;  // how many pods have the number
};

}  // namespace isthmus
