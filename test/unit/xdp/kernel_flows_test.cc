// The table of handed-down flows: what the engine links and unlinks, programs find and do not find any more.
#include "xdp/loader/kernel_flows.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <vector>

#include "test/unit/xdp/forward_rig.h"

namespace isthmus::test {
namespace {

class KernelFlowsTest : public ForwardRig {
 protected:
  static constexpr std::uint32_t kUsed = ISTHMUS_LONGEST_CHAIN + 1;

  static PacketSpec from_port(std::uint16_t port, bool ipv6 = false) {
    PacketSpec packet = inside({.ipv6 = ipv6, .udp = true});
    packet.source_port = port;
    return packet;
  }
  [[nodiscard]] std::uint64_t chain_of(const isthmus_flow_key& key) const {
    std::uint64_t ports = 0;
    std::memcpy(&ports, &key.source_port, sizeof ports);
    return isthmus_flow_hash(&key, ports, flows_->secret()) >> flows_->chain_shift();
  }
  // Packets whose keys are of one chain.
  [[nodiscard]] std::vector<PacketSpec> of_one_chain(std::size_t count) const {
    std::map<std::uint64_t, std::vector<PacketSpec>> chains;
    for (std::uint16_t port = 1; port != 0; ++port) {
      const PacketSpec packet = from_port(port, port % 2 != 0);
      std::vector<PacketSpec>& chain = chains[chain_of(key_of(packet))];
      chain.push_back(packet);
      if (chain.size() == count) {
        return chain;
      }
    }
    ADD_FAILURE() << "no chain of " << count;
    return {};
  }
  // Under the lease.
  [[nodiscard]] bool insert(const PacketSpec& packet, std::uint32_t lease) {
    isthmus_flow flow = decision(packet, translated(packet), Way::kLocal, Way::kVxlan4);
    flow.lease = lease;
    flows_->leases()[lease] = {0, 1, 0, 0};
    const isthmus_flow_key key = key_of(packet);
    return flows_->insert({&key, 1}, {&flow, 1}) == 1;
  }
  void erase(const PacketSpec& packet) {
    const isthmus_flow_key key = key_of(packet);
    flows_->erase({&key, 1});
    EXPECT_EQ(flows_->find(key), nullptr);
  }
  [[nodiscard]] bool forwarded(const PacketSpec& packet, std::uint32_t lease) {
    const std::uint64_t before = flows_->leases()[lease].packets;
    static_cast<void>(run(Way::kLocal, arriving(packet, Way::kLocal)));
    return flows_->leases()[lease].packets == before + 1;
  }
};

TEST_F(KernelFlowsTest, ProgramsFindEveryEntryOfAChain) {
  const std::vector<PacketSpec> packets = of_one_chain(kUsed);
  ASSERT_EQ(packets.size(), kUsed);
  for (std::uint32_t i = 0; i < kUsed - 1; ++i) {
    ASSERT_TRUE(insert(packets[i], i + 1));
  }
  EXPECT_FALSE(insert(packets.back(), kUsed)) << "a program would not come so far";
  for (std::uint32_t i = 0; i < kUsed - 1; ++i) {
    EXPECT_TRUE(forwarded(packets[i], i + 1)) << i;
    ASSERT_NE(flows_->find(key_of(packets[i])), nullptr);
    EXPECT_EQ(flows_->find(key_of(packets[i]))->lease, i + 1);
  }
  EXPECT_FALSE(forwarded(packets.back(), kUsed));
  for (const std::uint32_t gone : {kUsed - 2, 3U, 0U}) {  // at the end, in the middle, at the beginning
    erase(packets[gone]);
    EXPECT_FALSE(forwarded(packets[gone], gone + 1));
    for (std::uint32_t i = 1; i < kUsed - 2; ++i) {
      EXPECT_TRUE(i == 3 || forwarded(packets[i], i + 1)) << i << " without " << gone;
    }
  }
  ASSERT_TRUE(flows_->wait_for_programs());
  EXPECT_TRUE(insert(packets.back(), 4)) << "in the place of one that has gone";
  EXPECT_TRUE(forwarded(packets.back(), 4));
}

TEST_F(KernelFlowsTest, AKeyAndAPlaceAreOneFlowsOnly) {
  const PacketSpec one = from_port(1), other = from_port(2);
  ASSERT_TRUE(insert(one, 1));
  EXPECT_FALSE(insert(one, 2)) << "the key is there";
  EXPECT_FALSE(insert(other, 1)) << "the place is taken";
  EXPECT_FALSE(insert(other, 0)) << "nobody's";
  EXPECT_TRUE(forwarded(one, 1));
  erase(other);
  EXPECT_TRUE(forwarded(one, 1));
}

TEST_F(KernelFlowsTest, KeysThatDifferInOneByteAreNotTheSame) {
  for (const bool ipv6 : {false, true}) {
    const PacketSpec packet = from_port(1, ipv6);
    const isthmus_flow_key key = key_of(packet);
    for (std::size_t byte = 0; byte < (ipv6 ? sizeof key : 16); ++byte) {
      isthmus_flow_key near = key;
      reinterpret_cast<std::uint8_t*>(&near)[byte] ^= 1;
      isthmus_flow flow = decision(packet, translated(packet), Way::kLocal, Way::kVxlan4);
      lease() = {0, 1, 0, 0};
      ASSERT_EQ(flows_->insert({&near, 1}, {&flow, 1}), 1u);
      EXPECT_EQ(flows_->find(key), nullptr) << byte;
      EXPECT_FALSE(forwarded(packet, kLease)) << byte;
      flows_->erase({&near, 1});
      EXPECT_EQ(flows_->find(near), nullptr) << byte;
    }
  }
}

}  // namespace
}  // namespace isthmus::test
