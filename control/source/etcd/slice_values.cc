// Decodes endpoint slices: protobuf in a zstd frame.
#include <zstd.h>

#include <array>
#include <charconv>
#include <memory>

#include "config/yaml/read.h"
#include "control/source/etcd/json_value.h"
#include "control/source/etcd/service_parts.h"
#include "control/source/etcd/values.h"
#include "endpoint_slice.pb.h"

namespace isthmus {
namespace {

using Message = clustermesh::ClusterEndpointSlice;

constexpr std::size_t kMaxBytes = 16U << 20;
constexpr int kMaxWindowLog = 24;
constexpr const char* kServiceLabel = "kubernetes.io/service-name";
constexpr const char* kWeightAnnotation = "service.cilium.io/weight";

// Empty, and `error` set, if the frame is invalid, truncated or too large, or data follows it.
std::string decompress(std::string_view frame, ValueError& error) {
  const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kMaxWindowLog);
  std::string out;
  std::array<char, 65536> buffer;
  ZSTD_inBuffer in{frame.data(), frame.size(), 0};
  while (true) {
    ZSTD_outBuffer to{buffer.data(), buffer.size(), 0};
    const std::size_t left = ZSTD_decompressStream(context.get(), &to, &in);
    if (ZSTD_isError(left) != 0) {
      error = std::string("it is not a zstd frame: ") + ZSTD_getErrorName(left);
      return "";
    }
    if (out.size() + to.pos > kMaxBytes) {
      error = "it is larger than 16 MiB";
      return "";
    }
    out.append(buffer.data(), to.pos);
    if (left == 0) {
      if (in.pos != in.size) {
        error = "data follows the zstd frame";
      }
      return out;
    }
    if (in.pos == in.size && to.pos < to.size) {
      error = "the zstd frame is truncated";
      return "";
    }
  }
}

std::string look_up(const google::protobuf::Map<std::string, std::string>& map, const char* key) {
  const auto found = map.find(key);
  return found == map.end() ? "" : found->second;
}

// Absent and invalid weights give the default.
std::uint16_t weight_of(const Message& message) {
  const std::string text = look_up(message.annotations(), kWeightAnnotation);
  std::uint16_t weight = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), weight);
  return error == std::errc{} && end == text.data() + text.size() ? weight : SliceObject{}.weight;
}

void read_endpoints(const Message& message, SliceObject& slice, ValueError& error) {
  const Family family = message.addresstype() == "IPv6" ? Family::kIpv6 : Family::kIpv4;
  for (const auto& from : message.endpoints()) {
    const auto& conditions = from.conditions();
    SliceEndpoint endpoint{{},
                           !conditions.has_ready() || conditions.ready(),
                           !conditions.has_serving() || conditions.serving(),
                           conditions.terminating(),
                           is_plain_text(from.nodename()) ? from.nodename() : "",
                           is_plain_text(from.zone()) ? from.zone() : ""};
    for (const std::string& text : from.addresses()) {
      const auto address = IpAddress::parse(text);
      if (!address || address->family() != family) {
        error = "address " + shown(text) + " does not match the slice's addressType, " + message.addresstype();
        return;
      }
      endpoint.addresses.push_back(*address);
    }
    if (!endpoint.addresses.empty()) {
      slice.endpoints.push_back(std::move(endpoint));
    }
  }
}

void read_slice_ports(const Message& message, SliceObject& slice, ValueError& error) {
  for (const auto& port : message.ports()) {
    const auto protocol = port.has_protocol() ? protocol_of(port.protocol()) : std::optional(IpProtocol::kTcp);
    if (port.port() < 0 || port.port() > 65535 || !is_plain_text(port.name())) {
      error = "port " + shown(port.name()) + " has an invalid name or number";
      return;
    }
    if (protocol && is_supported(*protocol) && port.port() != 0) {
      slice.ports.push_back({port.name(), *protocol, L4Port{static_cast<std::uint16_t>(port.port())}});
    }
  }
  sort_ports(slice.ports);
}

}  // namespace

Result<EndpointSliceValue> decode_endpoint_slice(const EtcdValueContext& context, std::string_view suffix,
                                                 std::string_view value) {
  ValueError error;
  const std::string bytes = decompress(value, error);
  Message message;
  if (error.empty() && !message.ParseFromString(bytes)) {
    error = "it is not a ClusterEndpointSlice";
  }
  if (!error.empty()) {
    return reject(error);
  }
  EndpointSliceValue result;
  result.ns = message.namespace_();
  result.name = message.name();
  error = check_service_key(context, suffix, message.cluster(), result.ns, result.name);
  if (error.empty() && message.clusterid() != context.id.value()) {
    error = "clusterID " + std::to_string(message.clusterid()) + " does not match the cluster's id, " +
            std::to_string(context.id.value());
  }
  if (error.empty() && message.addresstype() != "IPv4" && message.addresstype() != "IPv6") {
    error = "addressType " + shown(message.addresstype()) + " is neither IPv4 nor IPv6";
  }
  result.object.service = look_up(message.labels(), kServiceLabel);
  if (error.empty() && !is_subdomain(result.object.service)) {
    error = std::string("the label ") + kServiceLabel + " does not name a Service";
  }
  result.derived_from = look_up(message.labels(), kDerivedLabel);
  if (!is_subdomain(result.derived_from)) {
    result.derived_from.clear();
  }
  result.object.weight = weight_of(message);
  if (error.empty()) {
    read_endpoints(message, result.object, error);
  }
  if (error.empty()) {
    read_slice_ports(message, result.object, error);
  }
  if (!error.empty()) {
    return reject(error);
  }
  return result;
}

}  // namespace isthmus
