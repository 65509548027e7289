#include "dataplane/tables/receivers.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "dataplane/net/address_hash.h"

namespace isthmus {
namespace {

using Key = std::tuple<IpAddress, Identity>;

Key key_of(const Receiver& receiver) noexcept { return {receiver.address, receiver.identity}; }

template <typename Shard>
auto place_in(Shard& shard, const Key& key) noexcept {
  return std::lower_bound(shard.begin(), shard.end(), key,
                          [](const Receiver& each, const Key& wanted) { return key_of(each) < wanted; });
}

}  // namespace

ReceiverTable::ReceiverTable(Realm realm) : realm_(realm) {}

std::size_t ReceiverTable::shard_of(const IpAddress& address) const noexcept {
  return address_hash(realm_, address) % kShards;
}

std::shared_ptr<const ReceiverTable> ReceiverTable::changed(const std::vector<Receiver>& upsert,
                                                            const std::vector<Receiver>& remove) const {
  auto next = std::make_shared<ReceiverTable>(*this);
  std::map<std::size_t, Shard> touched;
  const auto shard = [&](const Receiver& receiver) -> Shard& {
    const std::size_t number = shard_of(receiver.address);
    const auto [at, fresh] = touched.try_emplace(number);
    if (fresh && shards_[number] != nullptr) {
      at->second = *shards_[number];
    }
    return at->second;
  };
  for (const Receiver& each : remove) {
    Shard& in = shard(each);
    const auto at = place_in(in, key_of(each));
    if (at != in.end() && key_of(*at) == key_of(each)) {
      in.erase(at);
      --next->size_;
    }
  }
  for (const Receiver& each : upsert) {
    Shard& in = shard(each);
    const auto at = place_in(in, key_of(each));
    if (at != in.end() && key_of(*at) == key_of(each)) {
      *at = each;
    } else {
      in.insert(at, each);
      ++next->size_;
    }
  }
  for (auto& [number, changed] : touched) {
    next->shards_[number] = changed.empty() ? nullptr : std::make_shared<const Shard>(std::move(changed));
  }
  return next->size_ == 0 ? nullptr : next;
}

Identity ReceiverTable::find(Realm realm, const IpAddress& address, Identity identity) const noexcept {
  const Shard* in = realm == realm_ ? shards_[shard_of(address)].get() : nullptr;
  if (in == nullptr) {
    return identity;
  }
  const Key wanted{address, identity};
  const auto at = place_in(*in, wanted);
  return at != in->end() && key_of(*at) == wanted ? at->receives_as : identity;
}

}  // namespace isthmus
