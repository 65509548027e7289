// What is kept across restarts as bytes: keys and values of control/restore/store.h, in CBOR (RFC 8949).
//
// Pure functions; any thread. Failure: nothing throws; bytes that are not what encode_*() writes give nullopt, whatever
// they are, and need no more memory than a few times their own size.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "control/model/objects.h"

namespace isthmus {

// Of the whole store. Another one is not read.
inline constexpr std::uint32_t kKeptFormat = 1;

// An object of the model, as one hub published it.
struct KeptObject {
  std::string hub;  // as the configuration names it: "etcd"
  ObjectKey key;
  friend bool operator==(const KeptObject&, const KeptObject&) = default;
};
// When a hub's data of one member (or kind) was last known to be current.
struct KeptSeen {
  std::string hub, name;  // a cluster of an etcd, a kind of an API server, empty for a folder
  friend bool operator==(const KeptSeen&, const KeptSeen&) = default;
};
// What a cluster had of what clusters dispute.
struct KeptCluster {
  std::string name;
  friend bool operator==(const KeptCluster&, const KeptCluster&) = default;
};
// The service that had a VIP.
struct KeptVip {
  IpAddress address;
  friend bool operator==(const KeptVip&, const KeptVip&) = default;
};
// What is configured as that hub; under an empty name, whose state it is.
struct KeptOwner {
  std::string hub;
  friend bool operator==(const KeptOwner&, const KeptOwner&) = default;
};
// Objects of one kind and cluster that a hub no longer has and that are held, until a time.
struct KeptPart {
  std::string hub;
  ObjectKind kind = ObjectKind::kCluster;
  std::string cluster;
  friend auto operator<=>(const KeptPart&, const KeptPart&) = default;
};
// One more is appended: a key is written with its place in this list.
using KeptKey = std::variant<KeptObject, KeptSeen, KeptCluster, KeptVip, KeptOwner, KeptPart>;

struct KeptVersion {
  ObjectValue value;
  Provenance provenance;
};
struct KeptTime {
  std::int64_t seconds = 0;  // since 1970
  bool policies = false;     // policies are made of it, and every kind that they are made of had been listed
  friend bool operator==(const KeptTime&, const KeptTime&) = default;
};
struct KeptGateway {
  std::string name;
  IpAddress underlay;
  friend bool operator==(const KeptGateway&, const KeptGateway&) = default;
};
struct KeptClaims {
  ClusterId id;
  std::vector<Prefix> prefixes;
  std::vector<KeptGateway> gateways;
  std::vector<IpAddress> addresses{};  // of nodes and pods, in no prefix, that others say too
  friend bool operator==(const KeptClaims&, const KeptClaims&) = default;
};
struct KeptIdentity {
  std::string text;
  friend bool operator==(const KeptIdentity&, const KeptIdentity&) = default;
};
struct KeptHolder {
  std::string ns, name;
  friend bool operator==(const KeptHolder&, const KeptHolder&) = default;
};

[[nodiscard]] std::string encode_key(const KeptKey& key);
[[nodiscard]] std::optional<KeptKey> decode_key(std::string_view bytes);

[[nodiscard]] std::string encode_version(const ObjectValue& value, const Provenance& provenance);
// `kind`: of the key. A value of another kind is not read.
[[nodiscard]] std::optional<KeptVersion> decode_version(std::string_view bytes, ObjectKind kind);
[[nodiscard]] std::string encode_time(const KeptTime& time);
[[nodiscard]] std::optional<KeptTime> decode_time(std::string_view bytes);
[[nodiscard]] std::string encode_claims(const KeptClaims& claims);
[[nodiscard]] std::optional<KeptClaims> decode_claims(std::string_view bytes);
[[nodiscard]] std::string encode_holder(const KeptHolder& holder);
[[nodiscard]] std::optional<KeptHolder> decode_holder(std::string_view bytes);
[[nodiscard]] std::string encode_identity(const KeptIdentity& identity);
[[nodiscard]] std::optional<KeptIdentity> decode_identity(std::string_view bytes);

// The kind of object that a value of that kind is: what find<T>(key) of the model would return.
[[nodiscard]] bool is_value_of(ObjectKind kind, const ObjectValue& value);

}  // namespace isthmus
