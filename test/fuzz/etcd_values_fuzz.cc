// Any bytes as each value of a ClusterMesh hub: nothing may crash, a refusal says why and what to do, the scanner of
// addresses and the general parser agree, and what a value made is taken away again by the key's end.
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
  require(result.ok() || (!result.error().what.empty() && !result.error().remedy.empty()));
}

// Key and value are the text's first line and the rest.
void check_import(std::string_view tail, std::string_view value) {
  EtcdSourceOptions options;
  options.own_cluster = "east";
  options.gateway_service = "shop/cart";
  std::vector<ObjectDelta> out;
  FleetRegistry registry({"east", "", ClusterId{1}, 255}, out);
  ClusterImport import(options, {"west", ClusterId{5}, 255}, registry, out);
  for (const EtcdResource resource : kAllEtcdResources) {
    import.list_begins(resource);
    import.put(resource, tail, value);
    import.list_ends(resource, {});
  }
  const auto counts = import.counts();
  require(counts.objects + counts.rejected == kEtcdResources);
  require(import.problems(EtcdLayout::kState, "hub").size() >= std::min<std::size_t>(counts.rejected, 1));
  for (const EtcdResource resource : kAllEtcdResources) {
    import.put(resource, tail, "{");
    import.gone(resource, tail);
  }
  require(import.counts().objects == 0 && import.bad().empty());
  import.drain_all();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  spdlog::set_level(spdlog::level::off);  // refusals are what this is about
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t line = std::min(text.find('\n'), text.size());
  const std::string_view tail = text.substr(0, line);
  const std::string_view value = text.substr(std::min(line + 1, text.size()));
  const EtcdValueContext context{"west", ClusterId{5}, 255};
  check(decode_cluster_config(255, value));
  check(decode_cluster_config(511, value));
  check(decode_node(context, tail, value));
  check(decode_identity(context, tail, value));
  check(decode_service(context, tail, value));
  check(decode_service_export(context, tail, value));
  check(decode_endpoint_slice(context, tail, value));
  check(decode_gateway(context, tail, value));
  check(parse_etcd_client_config(value, "place"));
  // A blank in front keeps the scanner out and means nothing to the parser.
  const auto scanned = decode_address(context, tail, value),
             parsed = decode_address(context, tail, " " + std::string(value));
  check(scanned);
  require(scanned.ok() == parsed.ok() && (!scanned.ok() || *scanned == *parsed));
  check_import(tail, value);
  return 0;
}
