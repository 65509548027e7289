// What objects of an API server claim, as it is written, for commands that claim something besides. Plain functions;
// list_fleet() blocks on the server. Thread: any.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "config/yaml/read.h"
#include "config/yaml/tree.h"
#include "control/model/objects.h"
#include "control/source/kubernetes/api_caller.h"

namespace isthmus {

// The annotations of a Service's VIPs (service_vips.h).
inline constexpr const char *kVipAnnotation = "isthmus.io/vip", *kVipWantedAnnotation = "isthmus.io/vip-wanted";

// A claim as it stands in an object, whatever else the object holds: the rest of it may be of no use to a gateway,
// which goes by an earlier version of it then.
struct WrittenClaim {
  std::vector<IpAddress> addresses;
  YamlErrors errors;  // of what is no address
};

[[nodiscard]] std::optional<std::string> annotation_text(const YamlNode& object, const char* name);
[[nodiscard]] WrittenClaim service_claim(const YamlNode& service);
[[nodiscard]] WrittenClaim import_claim(const YamlNode& import);

// Calls visit(object, its tree) for all of a kind of isthmus.io; where the server has no such kind, there are none.
// Error: one that cannot be read, which may be in a claim's way, or a right that is missing.
[[nodiscard]] Status list_fleet(ApiCaller& server, const std::string& server_name, const char* kind,
                                const std::string& plural,
                                const std::function<void(const ObjectDelta&, const YamlNode&)>& visit);

}  // namespace isthmus
