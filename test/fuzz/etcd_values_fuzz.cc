// Decodes arbitrary bytes as each kind of value of a ClusterMesh hub. Nothing may crash, errors must have a text and a
// fix, the address scanner and the general parser must agree, and deleting the key must remove the value's objects.
//
// Input: the key suffix in the first line, then the value.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "control/source/etcd/client_config.h"
#include "control/source/etcd/cluster_import.h"
#include "control/source/etcd/values.h"

namespace {

using namespace isthmus;

void require(bool condition) {
  if (!condition) {
    __builtin_trap();
  }
}

template <typename T>
void check(const Result<T>& result) {
  require(result.ok() || (!result.error().what.empty() && !result.error().fix.empty()));
}

// Imports the value as every resource, replaces it by an invalid one, and deletes the key.
void check_import(std::string_view suffix, std::string_view value) {
  EtcdSourceOptions options;
  options.own_cluster = "east";
  options.gateway_service = "shop/cart";
  std::vector<ObjectDelta> out;
  FleetRegistry registry({"east", "", ClusterId{1}, 255}, out);
  ClusterImport import(options, {"west", ClusterId{5}, 255}, registry, out);
  for (const EtcdResource resource : kAllEtcdResources) {
    import.list_begins(resource);
    import.put(resource, suffix, value);
    import.list_ends(resource, {});
  }
  const auto counts = import.counts();
  require(counts.objects + counts.rejected == kEtcdResources);
  require(import.problems(EtcdLayout::kState, "hub").size() >= std::min<std::size_t>(counts.rejected, 1));
  for (const EtcdResource resource : kAllEtcdResources) {
    import.put(resource, suffix, "{");
    import.removed(resource, suffix);
  }
  require(import.counts().objects == 0 && import.invalid_keys().empty());
  import.purge_all();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  spdlog::set_level(spdlog::level::off);  // errors are expected
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t line = std::min(text.find('\n'), text.size());
  const std::string_view suffix = text.substr(0, line);
  const std::string_view value = text.substr(std::min(line + 1, text.size()));
  const EtcdValueContext context{"west", ClusterId{5}, 255};
  check(decode_cluster_config(255, value));
  check(decode_cluster_config(511, value));
  check(decode_node(context, suffix, value));
  check(decode_identity(context, suffix, value));
  check(decode_service(context, suffix, value));
  check(decode_service_export(context, suffix, value));
  check(decode_endpoint_slice(context, suffix, value));
  check(decode_gateway(context, suffix, value));
  check(parse_etcd_client_config(value, "path"));
  // A leading blank makes the scanner give up and is ignored by the parser.
  const auto scanned = decode_address(context, suffix, value),
             parsed = decode_address(context, suffix, " " + std::string(value));
  check(scanned);
  require(scanned.ok() == parsed.ok() && (!scanned.ok() || *scanned == *parsed));
  check_import(suffix, value);
  return 0;
}
