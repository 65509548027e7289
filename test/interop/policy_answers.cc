// Answers which packets the policies of cluster east let through: by the engine, from manifest text to forwarded
// packets (test/unit/policy/gateway_rig.h), and by the explanation that `isthmus policy trace` prints.
//
// One case a line on standard input, in JSON: `files`: [path, cluster, text], which stay until the next case and whose
// refused policies are told by their path; `parties`: {cluster, address, identity, node}; `packets`: [from, to, IP
// protocol, destination port or ICMP type], by index of `parties`. The engine goes on from case to case, with its
// connections. One answer a line: `engine` and `trace`, a "1" or "0" for each packet; `refused`: {path: why}; `other`:
// packets dropped for reasons other than policy, in all.
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "control/policy/explain.h"
#include "dataplane/api/identity.h"
#include "test/unit/policy/gateway_rig.h"

namespace {

using namespace isthmus;
using namespace isthmus::policy_reference;
using nlohmann::json;

constexpr std::size_t kBatch = 60;

std::vector<Who> parties_of(const json& asked) {
  std::vector<Who> out;
  for (const json& each : asked.at("parties")) {
    Who who;
    who.cluster = each.at("cluster").get<std::string>();
    who.address = IpAddress::parse(each.at("address").get<std::string>()).value().as_ipv4().host();
    who.identity = each.at("identity").get<std::uint32_t>();
    who.node = each.at("node").get<bool>();
    out.push_back(who);
  }
  return out;
}

std::vector<Packet> packets_of(const json& asked, const std::vector<Who>& parties) {
  std::vector<Packet> out;
  for (const json& each : asked.at("packets")) {
    Packet packet;
    packet.from = &parties.at(each.at(0).get<std::size_t>());
    packet.to = &parties.at(each.at(1).get<std::size_t>());
    packet.protocol = each.at(2).get<std::uint8_t>();
    packet.port = each.at(3).get<std::uint16_t>();
    packet.source_port = static_cast<std::uint16_t>(40000 + out.size() % 20000);
    out.push_back(packet);
  }
  return out;
}

class Answers {
 public:
  json answer(const json& asked) {
    const auto refused = publish(asked.at("files"));
    const std::vector<Who> parties = parties_of(asked);
    const std::vector<Packet> packets = packets_of(asked, parties);
    std::string trace;
    for (const Packet& packet : packets) {
      trace += traced(packet) ? '1' : '0';
    }
    const std::string engine = forwarded(packets);
    return {{"engine", engine}, {"trace", trace}, {"refused", refused}, {"other", gateway_.other_drops()}};
  }

 private:
  std::map<std::string, std::string> publish(const json& files) {
    std::map<std::string, std::string> now;
    for (const json& file : files) {
      const auto name = file.at(0).get<std::string>(), cluster = file.at(1).get<std::string>();
      gateway_.set(cluster, name, file.at(2).get<std::string>());
      now[name] = cluster;
      files_.erase(name);
    }
    for (const auto& [name, cluster] : files_) {
      gateway_.set(cluster, name, "");
    }
    files_ = now;
    std::map<std::string, std::string> refused;
    for (const SourceProblem& problem : gateway_.publish_what_is_valid()) {
      const std::string path = problem.provenance.location;
      refused[path.substr(path.find('/') + 1)] += problem.what + "; ";
    }
    return refused;
  }

  std::string forwarded(const std::vector<Packet>& packets) {
    std::string out;
    for (std::size_t at = 0; at < packets.size(); at += kBatch) {
      const std::vector<Packet> batch(
          packets.begin() + static_cast<std::ptrdiff_t>(at),
          packets.begin() + static_cast<std::ptrdiff_t>(std::min(packets.size(), at + kBatch)));
      const std::set<Tuple> passed = gateway_.send(on_the_wire(batch));
      for (const Packet& packet : on_the_wire(batch)) {
        out += passed.contains(tuple_of(packet)) ? '1' : '0';
      }
    }
    return out;
  }
  // The rig's packets have no ICMP type: they are echo requests.
  static std::vector<Packet> on_the_wire(std::vector<Packet> packets) {
    for (Packet& packet : packets) {
      packet.port = packet.protocol == 1 ? std::uint16_t{0} : packet.port;
    }
    return packets;
  }

  // As control/daemon finds the party of an address.
  PolicyParty party(const Who& who) const {
    const PolicySet& policy = gateway_.compiler().policy();
    const IpAddress address = ip(who.address);
    const auto endpoint = gateway_.compiler().find_endpoint(address);
    const Identity known = endpoint ? endpoint->identity : identity::kWorld;
    const bool unlabelled = identity::is_unlabelled(known);
    const bool by_prefix = unlabelled || known == identity::kWorld;
    PolicyParty party =
        party_of(by_prefix ? policy.identity_at(address, unlabelled) : known, address.to_string(), policy);
    party.receives_as = policy.receives_as(address, *party.identity);
    return party;
  }
  bool traced(const Packet& packet) const {
    const PolicySet& policy = gateway_.compiler().policy();
    const PolicyParty from = party(*packet.from), to = party(*packet.to);
    const PolicyQuestion question{packet.protocol, packet.port};
    const auto passes = [&](bool egress) {
      const ExplainedDirection direction =
          explain(policy, gateway_.model(), "east", egress, egress ? from : to, egress ? &to : &from, &question);
      return direction.outcome == PolicyOutcome::kAllowed || direction.outcome == PolicyOutcome::kNotApplicable;
    };
    return passes(true) && passes(false);
  }

  Gateway gateway_;
  std::map<std::string, std::string> files_;  // of the last case, with their clusters
};

}  // namespace

int main() {
  Answers answers;
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << answers.answer(json::parse(line)).dump() << std::endl;
  }
}
