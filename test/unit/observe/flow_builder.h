// Builds flow records for tests.
#pragma once

#include <memory>
#include <string>

#include "control/observe/flow.h"

namespace isthmus::flow_test {

inline IpAddress ip(const std::string& text) { return IpAddress::parse(text).value(); }

inline FlowParty party(const std::string& address, std::uint16_t port, std::uint32_t identity,
                       EndpointNames names = {}) {
  return {ip(address), L4Port{port}, Identity{identity}, std::make_shared<const EndpointNames>(std::move(names))};
}

inline constexpr std::uint8_t kSynFlag = 2, kAckFlag = 16;

// A connection from a pod of east to one of west that has just been opened, through the VIP of shop/cart.
inline Flow some_flow() {
  Flow flow;
  flow.time_ns = 1'795'391'941'123'456'789;
  flow.source = party("10.1.0.5", 40000, 65636, {"east", "shop", "client-0", {"k8s:app=client"}});
  flow.destination = party("10.2.0.7", 8080, 131372, {"west", "shop", "web-0", {"k8s:app=web"}});
  FlowEvent& e = flow.event;
  e.protocol = IpProtocol::kTcp;
  e.tcp_flags = kSynFlag;
  e.trace = TraceReason::kNew;
  e.direction = TrafficDirection::kEgress;
  e.to = Side::kFabric;
  e.received = {flow.source.address, ip("10.200.0.10"), L4Port{40000}, L4Port{80}};
  e.translated = {flow.source.address, flow.destination.address, L4Port{40000}, L4Port{8080}};
  flow.service = "shop/cart";
  flow.peer = ip("192.0.2.2");
  return flow;
}

inline const DropCount kDenied{"policy_denied", "No policy entry allows it", "isthmus policy", 133, 0, 0, 0};

inline Flow some_drop() {
  Flow flow = some_flow();
  flow.event.verdict = FlowVerdict::kDropped;
  flow.event.trace = TraceReason::kUnknown;
  flow.drop = &kDenied;
  return flow;
}

}  // namespace isthmus::flow_test
