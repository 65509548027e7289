#include "control/restore/object_size.h"

#include <tuple>
#include <type_traits>

#include "control/restore/fields.h"

namespace isthmus {
namespace {

constexpr std::size_t kNode = 48;  // of a map: its links, and the allocator's share

// What a value owns beside its own size.
std::size_t owned(const std::string& text) { return text.size() > 15 ? text.size() + 1 : 0; }

template <typename T>
std::size_t owned(const T& value);

template <typename T>
std::size_t owned(const std::vector<T>& list) {
  std::size_t sum = list.size() * sizeof(T);
  for (const T& item : list) {
    sum += owned(item);
  }
  return sum;
}

template <typename K, typename V>
std::size_t owned(const std::map<K, V>& map) {
  std::size_t sum = map.size() * (kNode + sizeof(K) + sizeof(V));
  for (const auto& [key, value] : map) {
    sum += owned(key) + owned(value);
  }
  return sum;
}

template <typename T>
std::size_t owned(const std::optional<T>& value) {
  return value ? owned(*value) : 0;
}

template <typename T>
std::size_t owned(const Rare<T>& value) {
  return *value == T{} ? 0 : sizeof(T) + owned(*value);
}

template <typename T>
std::size_t owned(const T& value) {
  if constexpr (std::tuple_size_v<std::remove_const_t<decltype(kept::kFields<T>)>> != 0) {
    return std::apply([&](auto... field) { return (std::size_t{0} + ... + owned(value.*field)); }, kept::kFields<T>);
  } else {
    static_assert(std::is_trivially_copyable_v<T>, "its fields are not listed in fields.h");
    return 0;
  }
}

}  // namespace

std::size_t object_bytes(const ObjectKey& key, const ObjectValue& value) {
  return kNode + sizeof(ObjectKey) + sizeof(ObjectValue) + owned(key.cluster) + owned(key.ns) + owned(key.name) +
         std::visit([](const auto& held) { return owned(held); }, value);
}

}  // namespace isthmus
