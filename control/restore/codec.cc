#include "control/restore/codec.h"

#include <algorithm>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "control/restore/fields.h"

namespace isthmus {
namespace kept {

template <>
inline constexpr auto kFields<ObjectKey> =
    std::tuple{&ObjectKey::kind, &ObjectKey::cluster, &ObjectKey::ns, &ObjectKey::name};
template <>
inline constexpr auto kFields<Provenance> = std::tuple{&Provenance::location, &Provenance::line};
template <>
inline constexpr auto kFields<KeptObject> = std::tuple{&KeptObject::hub, &KeptObject::key};
template <>
inline constexpr auto kFields<KeptSeen> = std::tuple{&KeptSeen::hub, &KeptSeen::name};
template <>
inline constexpr auto kFields<KeptCluster> = std::tuple{&KeptCluster::name};
template <>
inline constexpr auto kFields<KeptVip> = std::tuple{&KeptVip::address};
template <>
inline constexpr auto kFields<KeptOwner> = std::tuple{&KeptOwner::hub};
template <>
inline constexpr auto kFields<KeptPart> = std::tuple{&KeptPart::hub, &KeptPart::kind, &KeptPart::cluster};
template <>
inline constexpr auto kFields<KeptIdentity> = std::tuple{&KeptIdentity::text};
template <>
inline constexpr auto kFields<KeptVersion> = std::tuple{&KeptVersion::value, &KeptVersion::provenance};
template <>
inline constexpr auto kFields<KeptTime> = std::tuple{&KeptTime::seconds, &KeptTime::policies};
template <>
inline constexpr auto kFields<KeptGateway> = std::tuple{&KeptGateway::name, &KeptGateway::underlay};
template <>
inline constexpr auto kFields<KeptClaims> =
    std::tuple{&KeptClaims::id, &KeptClaims::prefixes, &KeptClaims::gateways, &KeptClaims::addresses};
template <>
inline constexpr auto kFields<KeptHolder> = std::tuple{&KeptHolder::ns, &KeptHolder::name};

}  // namespace kept

namespace {

using nlohmann::json;

// Nothing that is written is nested deeper; the reader of the library recurses.
constexpr int kMaxDepth = 24;

[[noreturn]] void refuse() { throw std::invalid_argument("not what was written"); }

template <typename T>
constexpr bool kHasFields = std::tuple_size_v<std::remove_const_t<decltype(kept::kFields<T>)>> != 0;
template <typename T, template <typename...> class Of>
constexpr bool kIs = false;
template <template <typename...> class Of, typename... Args>
constexpr bool kIs<Of<Args...>, Of> = true;
template <typename T>
constexpr bool kIsStrong = false;
template <typename Tag, typename Rep>
constexpr bool kIsStrong<Strong<Tag, Rep>> = true;

template <typename T>
json to_json(const T& value);

json address_json(const IpAddress& address) {
  const auto& bytes = address.bytes();
  const std::size_t skip = address.is_ipv4() ? 12 : 0;
  return json::binary({bytes.begin() + static_cast<std::ptrdiff_t>(skip), bytes.end()});
}

template <typename Variant>
json variant_json(const Variant& value) {
  return json::array({value.index(), std::visit([](const auto& held) { return to_json(held); }, value)});
}

template <typename T>
json fields_json(const T& value) {
  json out = json::array();
  std::apply([&](auto... field) { (out.push_back(to_json(value.*field)), ...); }, kept::kFields<T>);
  return out;
}

template <typename T>
json to_json(const T& value) {
  if constexpr (std::is_same_v<T, IpAddress>) {
    return address_json(value);
  } else if constexpr (std::is_same_v<T, Prefix>) {
    return json::array({address_json(value.address()), value.length()});
  } else if constexpr (kIsStrong<T>) {
    return value.value();
  } else if constexpr (std::is_enum_v<T>) {
    return static_cast<std::underlying_type_t<T>>(value);
  } else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
    return value;
  } else if constexpr (kIs<T, std::optional>) {
    return value ? json::array({to_json(*value)}) : json::array();
  } else if constexpr (kIs<T, Rare>) {
    return to_json(*value);
  } else if constexpr (kIs<T, std::vector>) {
    json out = json::array();
    for (const auto& item : value) {
      out.push_back(to_json(item));
    }
    return out;
  } else if constexpr (kIs<T, std::map>) {
    json out = json::array();  // not an object: its keys would have to be text
    for (const auto& [key, item] : value) {
      out.push_back(to_json(key));
      out.push_back(to_json(item));
    }
    return out;
  } else if constexpr (kIs<T, std::variant>) {
    return variant_json(value);
  } else {
    static_assert(kHasFields<T>, "its fields are not listed in fields.h");
    return fields_json(value);
  }
}

template <typename T>
void from_json(const json& from, T& value);

const json::array_t& array_of(const json& from) {
  if (!from.is_array()) {
    refuse();
  }
  return from.get_ref<const json::array_t&>();
}

IpAddress address_of(const json& from) {
  if (!from.is_binary()) {
    refuse();
  }
  const auto& bytes = from.get_binary();
  if (bytes.size() == 16) {
    return IpAddress::ipv6(bytes.data());
  }
  if (bytes.size() != 4) {
    refuse();
  }
  IpAddress::ByteArray mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  std::copy(bytes.begin(), bytes.end(), mapped.begin() + 12);
  return IpAddress(mapped);
}

template <typename T>
T number_of(const json& from) {
  if (from.is_number_unsigned()) {
    const auto number = from.get<std::uint64_t>();
    if (number <= static_cast<std::uint64_t>(std::numeric_limits<T>::max())) {
      return static_cast<T>(number);
    }
  } else if (from.is_number_integer() && std::is_signed_v<T>) {
    const auto number = from.get<std::int64_t>();
    if (number >= static_cast<std::int64_t>(std::numeric_limits<T>::min())) {
      return static_cast<T>(number);
    }
  }
  refuse();
}

template <typename Variant, std::size_t Index = 0>
void variant_of(std::size_t index, const json& from, Variant& value) {
  if constexpr (Index == std::variant_size_v<Variant>) {
    refuse();
  } else if (index == Index) {
    from_json(from, value.template emplace<Index>());
  } else {
    variant_of<Variant, Index + 1>(index, from, value);
  }
}

template <typename T>
void fields_of(const json& from, T& value) {
  const json::array_t& items = array_of(from);
  std::size_t next = 0;
  const auto read = [&](auto& field) {
    if (next < items.size()) {
      from_json(items[next++], field);
    }
  };
  std::apply([&](auto... field) { (read(value.*field), ...); }, kept::kFields<T>);
}

template <typename T>
void items_of(const json& from, T& value) {
  const json::array_t& items = array_of(from);
  if constexpr (kIs<T, std::map>) {
    if (items.size() % 2 != 0) {
      refuse();
    }
    for (std::size_t i = 0; i < items.size(); i += 2) {
      typename T::key_type key;
      from_json(items[i], key);
      from_json(items[i + 1], value[std::move(key)]);
    }
  } else {
    for (const json& item : items) {
      from_json(item, value.emplace_back());
    }
  }
}

template <typename T>
void from_json(const json& from, T& value) {
  if constexpr (std::is_same_v<T, IpAddress>) {
    value = address_of(from);
  } else if constexpr (std::is_same_v<T, Prefix>) {
    const json::array_t& parts = array_of(from);
    if (parts.size() != 2) {
      refuse();
    }
    value = Prefix(address_of(parts[0]), number_of<std::uint8_t>(parts[1]));
  } else if constexpr (kIsStrong<T>) {
    value = T{number_of<std::remove_cvref_t<decltype(value.value())>>(from)};
  } else if constexpr (std::is_enum_v<T>) {
    value = T{number_of<std::underlying_type_t<T>>(from)};
    if (value > kept::kLast<T>) {
      refuse();
    }
  } else if constexpr (std::is_same_v<T, bool>) {
    value = from.get<bool>();
  } else if constexpr (std::is_arithmetic_v<T>) {
    value = number_of<T>(from);
  } else if constexpr (std::is_same_v<T, std::string>) {
    value = from.get_ref<const std::string&>();
  } else if constexpr (kIs<T, std::optional>) {
    if (const json::array_t& some = array_of(from); some.empty()) {
      value.reset();
    } else {
      from_json(some.front(), value.emplace());
    }
  } else if constexpr (kIs<T, Rare>) {
    typename T::Value read;
    from_json(from, read);
    value = std::move(read);
  } else if constexpr (kIs<T, std::vector> || kIs<T, std::map>) {
    items_of(from, value);
  } else if constexpr (kIs<T, std::variant>) {
    const json::array_t& parts = array_of(from);
    if (parts.size() != 2) {
      refuse();
    }
    variant_of(number_of<std::size_t>(parts[0]), parts[1], value);
  } else {
    static_assert(kHasFields<T>, "its fields are not listed in fields.h");
    fields_of(from, value);
  }
}

// Stops where the nesting is too deep, before the library's reader recurses into it.
class DepthLimit final : public nlohmann::json_sax<json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return false; }  // none is written
  bool key(string_t&) override { return false; }
  bool end_object() override { return false; }
  bool start_array(std::size_t) override { return ++depth_ <= kMaxDepth; }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }

 private:
  int depth_ = 0;
};

std::string to_bytes(const json& value) {
  std::string bytes;
  json::to_cbor(value, bytes);
  return bytes;
}

template <typename T>
std::optional<T> from_bytes(std::string_view bytes) {
  DepthLimit limit;
  if (!json::sax_parse(bytes.begin(), bytes.end(), &limit, json::input_format_t::cbor)) {
    return std::nullopt;
  }
  try {
    T value;
    from_json(json::from_cbor(bytes.begin(), bytes.end()), value);
    return value;
  } catch (const json::exception&) {
    return std::nullopt;
  } catch (const std::invalid_argument&) {
    return std::nullopt;
  }
}

}  // namespace

std::string encode_key(const KeptKey& key) { return to_bytes(variant_json(key)); }
std::optional<KeptKey> decode_key(std::string_view bytes) { return from_bytes<KeptKey>(bytes); }

std::string encode_version(const ObjectValue& value, const Provenance& provenance) {
  return to_bytes(json::array({variant_json(value), fields_json(provenance)}));
}

std::optional<KeptVersion> decode_version(std::string_view bytes, ObjectKind kind) {
  auto version = from_bytes<KeptVersion>(bytes);
  return version && is_value_of(kind, version->value) ? std::move(version) : std::nullopt;
}

std::string encode_time(const KeptTime& time) { return to_bytes(fields_json(time)); }
std::optional<KeptTime> decode_time(std::string_view bytes) { return from_bytes<KeptTime>(bytes); }
std::string encode_claims(const KeptClaims& claims) { return to_bytes(fields_json(claims)); }
std::optional<KeptClaims> decode_claims(std::string_view bytes) { return from_bytes<KeptClaims>(bytes); }
std::string encode_holder(const KeptHolder& holder) { return to_bytes(fields_json(holder)); }
std::optional<KeptHolder> decode_holder(std::string_view bytes) { return from_bytes<KeptHolder>(bytes); }
std::string encode_identity(const KeptIdentity& identity) { return to_bytes(fields_json(identity)); }
std::optional<KeptIdentity> decode_identity(std::string_view bytes) { return from_bytes<KeptIdentity>(bytes); }

bool is_value_of(ObjectKind kind, const ObjectValue& value) {
  switch (kind) {
    case ObjectKind::kCluster:
      return std::holds_alternative<ClusterObject>(value);
    case ObjectKind::kGateway:
      return std::holds_alternative<GatewayObject>(value);
    case ObjectKind::kProfile:
      return std::holds_alternative<ProfileObject>(value);
    case ObjectKind::kNamespace:
      return std::holds_alternative<NamespaceObject>(value);
    case ObjectKind::kService:
      return std::holds_alternative<ServiceObject>(value);
    case ObjectKind::kSlice:
      return std::holds_alternative<SliceObject>(value);
    case ObjectKind::kPod:
      return std::holds_alternative<PodObject>(value);
    case ObjectKind::kCiliumEndpoint:
      return std::holds_alternative<CiliumEndpointObject>(value);
    case ObjectKind::kIdentity:
      return std::holds_alternative<IdentityObject>(value);
    case ObjectKind::kAddress:
      return std::holds_alternative<AddressObject>(value);
    case ObjectKind::kNode:
      return std::holds_alternative<NodeObject>(value);
    case ObjectKind::kServiceImport:
      return std::holds_alternative<ServiceImportObject>(value);
    case ObjectKind::kCidrGroup:
      return std::holds_alternative<CidrGroupObject>(value);
    case ObjectKind::kNetworkPolicy:
    case ObjectKind::kCiliumPolicy:
    case ObjectKind::kClusterwidePolicy:
      return std::holds_alternative<PolicyObject>(value);
    case ObjectKind::kAgentConfig:
      return std::holds_alternative<AgentConfigObject>(value);
  }
  return false;
}

}  // namespace isthmus
