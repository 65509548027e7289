// ReceiverTable: the pods that policy takes for another identity where they are the destination
// (dataplane/api/policy.h), by address and identity.
//
// Immutable shards, so that a change copies only those that it affects. Built by the publisher (control thread) as part
// of a snapshot, read by workers at admission. A look-up is a binary search in one shard; it does not allocate.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <vector>

#include "dataplane/api/policy.h"
#include "dataplane/base/types.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {

class ReceiverTable {
 public:
  explicit ReceiverTable(Realm realm);
  // A copy with the changes applied. Null: nobody is left.
  [[nodiscard]] std::shared_ptr<const ReceiverTable> changed(const std::vector<Receiver>& upsert,
                                                             const std::vector<Receiver>& remove) const;
  // What the endpoint of this address and identity receives as: `identity`, if it is not in the table.
  [[nodiscard]] Identity find(Realm realm, const IpAddress& address, Identity identity) const noexcept;

 private:
  static constexpr std::size_t kShards = 1024;
  using Shard = std::vector<Receiver>;  // ascending by address and identity
  [[nodiscard]] std::size_t shard_of(const IpAddress& address) const noexcept;

  Realm realm_;
  std::size_t size_ = 0;
  std::array<std::shared_ptr<const Shard>, kShards> shards_;  // null: empty
};

}  // namespace isthmus
