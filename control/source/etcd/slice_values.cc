// Endpoint slices: protobuf within a zstd frame.
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

constexpr std::size_t kMostBytes = 16U << 20;
constexpr int kMostWindowLog = 24;
constexpr const char* kServiceLabel = "kubernetes.io/service-name";
constexpr const char* kWeightAnnotation = "service.cilium.io/weight";

// Empty with a fault when the frame is broken, goes on without end, or something follows it.
std::string decompress(std::string_view frame, ValueFault& fault) {
  const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kMostWindowLog);
  std::string out;
  std::array<char, 65536> buffer;
  ZSTD_inBuffer in{frame.data(), frame.size(), 0};
  while (true) {
    ZSTD_outBuffer to{buffer.data(), buffer.size(), 0};
    const std::size_t left = ZSTD_decompressStream(context.get(), &to, &in);
    if (ZSTD_isError(left) != 0) {
      fault = std::string("it is not a zstd frame: ") + ZSTD_getErrorName(left);
      return "";
    }
    if (out.size() + to.pos > kMostBytes) {
      fault = "it is larger than 16 MiB";
      return "";
    }
    out.append(buffer.data(), to.pos);
    if (left == 0) {
      if (in.pos != in.size) {
        fault = "something follows the zstd frame";
      }
      return out;
    }
    if (in.pos == in.size && to.pos < to.size) {
      fault = "the zstd frame is cut short";
      return "";
    }
  }
}

std::string look_up(const google::protobuf::Map<std::string, std::string>& map, const char* key) {
  const auto found = map.find(key);
  return found == map.end() ? "" : found->second;
}

// Unset and unreadable weights count as none given.
std::uint16_t weight_of(const Message& message) {
  const std::string text = look_up(message.annotations(), kWeightAnnotation);
  std::uint16_t weight = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), weight);
  return error == std::errc{} && end == text.data() + text.size() ? weight : SliceObject{}.weight;
}

void read_endpoints(const Message& message, SliceObject& slice, ValueFault& fault) {
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
        fault = "address " + shown(text) + " is not of the slice's type, " + message.addresstype();
        return;
      }
      endpoint.addresses.push_back(*address);
    }
    if (!endpoint.addresses.empty()) {
      slice.endpoints.push_back(std::move(endpoint));
    }
  }
}

void read_ports(const Message& message, SliceObject& slice, ValueFault& fault) {
  for (const auto& port : message.ports()) {
    const auto protocol = port.has_protocol() ? protocol_of(port.protocol()) : std::optional(IpProtocol::kTcp);
    if (port.port() < 0 || port.port() > 65535 || !is_plain_text(port.name())) {
      fault = "port " + shown(port.name()) + " is not a port";
      return;
    }
    if (protocol && is_balanced(*protocol) && port.port() != 0) {
      slice.ports.push_back({port.name(), *protocol, L4Port{static_cast<std::uint16_t>(port.port())}});
    }
  }
  sort_ports(slice.ports);
}

}  // namespace

Result<EndpointSliceValue> decode_endpoint_slice(const EtcdValueContext& context, std::string_view tail,
                                                 std::string_view value) {
  ValueFault fault;
  const std::string bytes = decompress(value, fault);
  Message message;
  if (fault.empty() && !message.ParseFromString(bytes)) {
    fault = "it is not a ClusterEndpointSlice";
  }
  if (!fault.empty()) {
    return refusal(fault);
  }
  EndpointSliceValue result;
  result.name_space = message.namespace_();
  result.name = message.name();
  fault = check_service_key(context, tail, message.cluster(), result.name_space, result.name);
  if (fault.empty() && message.clusterid() != context.id.value()) {
    fault = "clusterID " + std::to_string(message.clusterid()) + " is not the cluster's, which is " +
            std::to_string(context.id.value());
  }
  if (fault.empty() && message.addresstype() != "IPv4" && message.addresstype() != "IPv6") {
    fault = "addressType " + shown(message.addresstype()) + " is neither IPv4 nor IPv6";
  }
  result.object.service = look_up(message.labels(), kServiceLabel);
  if (fault.empty() && !is_subdomain(result.object.service)) {
    fault = std::string("the label ") + kServiceLabel + " does not name a Service";
  }
  result.derived_from = look_up(message.labels(), kDerivedLabel);
  if (!is_subdomain(result.derived_from)) {
    result.derived_from.clear();
  }
  result.object.weight = weight_of(message);
  if (fault.empty()) {
    read_endpoints(message, result.object, fault);
  }
  if (fault.empty()) {
    read_ports(message, result.object, fault);
  }
  if (!fault.empty()) {
    return refusal(fault);
  }
  return result;
}

}  // namespace isthmus
