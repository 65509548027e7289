// Values as Cilium writes them, by default for cluster west, id 5.
#pragma once

#include <cstdint>
#include <string>

namespace isthmus {
namespace hub {

inline std::string config(unsigned id, const std::string& capabilities = R"("syncedCanaries":true)") {
  return R"({"id":)" + std::to_string(id) + R"(,"capabilities":{)" + capabilities + "}}";
}

inline std::string node(const std::string& name, const std::string& address, const std::string& pods,
                        const std::string& cluster = "west", unsigned id = 5) {
  return R"({"Name":")" + name + R"(","Cluster":")" + cluster + R"(","IPAddresses":[{"Type":"InternalIP","IP":")" +
         address + R"("}],"IPv4AllocCIDR":")" + pods + R"(","IPv4SecondaryAllocCIDRs":null,"IPv6AllocCIDR":null,)" +
         R"("ClusterID":)" + std::to_string(id) + "}";
}

inline std::string ip(const std::string& address, std::uint32_t identity, const std::string& host = "192.0.2.17") {
  return R"({"IP":")" + address + R"(","Mask":null,"HostIP":")" + host + R"(","ID":)" + std::to_string(identity) +
         R"(,"Key":0,"Metadata":""})";
}

inline std::string labels(const std::string& app, const std::string& cluster = "west") {
  return "k8s:app=" + app + ";k8s:io.cilium.k8s.policy.cluster=" + cluster + ";";
}

inline std::string service(const std::string& name, const std::string& backends, const std::string& more = "",
                           const std::string& cluster = "west", unsigned id = 5) {
  const std::size_t slash = name.find('/');
  return R"({"cluster":")" + cluster + R"(","clusterID":)" + std::to_string(id) + R"(,"namespace":")" +
         name.substr(0, slash) + R"(","name":")" + name.substr(slash + 1) + R"(","shared":true,"backends":)" +
         backends + more + "}";
}

}  // namespace hub
}  // namespace isthmus
