// The table of fragmented datagrams under random fragments of several senders, each stamped with whose it is: nothing
// is given out that is another one's, and every place comes back.
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <vector>

#include "dataplane/fragments/fragment_table.h"

namespace isthmus::test {
namespace {

using Step = FragmentOutcome::Step;
constexpr std::uint64_t kHold = 1000;
constexpr std::uint32_t kPart = 400, kParts = 4, kHeaders = 34, kFrame = 500;

class RandomFragments {
 public:
  RandomFragments(unsigned seed, std::uint32_t datagrams)
      : random_(seed), datagrams_(datagrams), table_({datagrams, kHold}) {}

  void one() {
    now_ += random_() % 4;
    DatagramKey key;
    key.source = IpAddress::ipv4(Be32::of(0x0a000001 + static_cast<std::uint32_t>(random_() % 6)));
    key.destination = IpAddress::ipv4(Be32::of(1));
    key.id = static_cast<std::uint32_t>(random_() % (datagrams_ / 16 + 1));
    key.protocol = IpProtocol::kUdp;
    key.tunnel = random_() % 2 == 0;
    const std::uint64_t sender = key.source.bytes()[15];
    const auto stamp = static_cast<std::uint8_t>(key.id * 7 + sender * 31 + (key.tunnel ? 1 : 0));
    FragmentOutcome outcome;
    if (random_() % 200 == 0) {
      outcome.lost = table_.refuse(key, DropReason::kIpFragment, sender, now_);
    } else {
      outcome = take(key, sender, stamp);
    }
    check(outcome, key, stamp);
    give_back(outcome);
    if (random_() % 3 == 0) {
      table_.kept().release(table_.expire(bucket_++ % table_.buckets(), now_).list);
    }
  }
  // All that is left expires.
  void finish() {
    now_ += 5 * kHold;
    for (std::uint32_t bucket = 0; bucket < table_.buckets(); ++bucket) {
      table_.kept().release(table_.expire(bucket, now_).list);
    }
    EXPECT_EQ(table_.now(), 0u);
    EXPECT_EQ(table_.kept().frames(), 0u);
    std::uint32_t places = 0;
    while (table_.kept().take() != kNoPlace) {
      ++places;
    }
    EXPECT_EQ(places, FragmentTable::places_for(datagrams_));
  }

  unsigned completed = 0, let_go = 0;

 private:
  FragmentOutcome take(const DatagramKey& key, std::uint64_t sender, std::uint8_t stamp) {
    FragmentPart part{key.id, IpProtocol::kUdp, static_cast<std::uint32_t>(random_() % kParts) * kPart, kPart, nullptr};
    part.more = part.offset != (kParts - 1) * kPart;
    if (random_() % 60 == 0) {
      part.offset += 8;  // overlaps
    } else if (random_() % 60 == 0) {
      part.offset = 4800;  // longer than what is put together
      part.more = true;
    }
    std::vector<std::uint8_t> data(kPart);
    for (std::uint32_t i = 0; i < kPart; ++i) {
      data[i] = static_cast<std::uint8_t>(stamp + (part.offset + i) / 8);
    }
    part.data = data.data();
    std::array<std::uint8_t, kFrame> frame;
    frame.fill(stamp);
    ArrivedFragment arrived;
    arrived.frame = frame;
    arrived.frame_bytes = kFrame;
    if (key.tunnel) {
      return table_.assemble(key, part, arrived, std::span(frame).first(kHeaders), 0, sender, now_);
    }
    const DatagramPorts ports{Be16::of(static_cast<std::uint16_t>(key.id)), Be16::of(2), IpProtocol::kUdp};
    return part.offset == 0 ? table_.first(key, part, ports, sender, now_)
                            : table_.later(key, part, arrived, sender, now_);
  }
  void check(const FragmentOutcome& outcome, const DatagramKey& key, std::uint8_t stamp) {
    if (outcome.step == Step::kForward) {
      EXPECT_EQ(outcome.ports.source, Be16::of(static_cast<std::uint16_t>(key.id)));
      for (std::uint32_t at = outcome.list; at != kNoPlace; at = table_.kept()[at].next, ++let_go) {
        ASSERT_EQ(table_.kept()[at].bytes[0], stamp);
      }
    } else if (outcome.step == Step::kComplete) {
      ++completed;
      const KeptFragment& whole = table_.kept()[outcome.list];
      ASSERT_EQ(whole.length, kHeaders + kParts * kPart);
      for (std::uint32_t i = 0; i < kHeaders; ++i) {
        ASSERT_EQ(whole.bytes[whole.start + i], stamp);
      }
      for (std::uint32_t i = 0; i < kParts * kPart; ++i) {
        ASSERT_EQ(whole.bytes[whole.start + kHeaders + i], static_cast<std::uint8_t>(stamp + i / 8)) << i;
      }
    }
  }
  void give_back(const FragmentOutcome& outcome) {
    table_.kept().release(outcome.list);
    table_.kept().release(outcome.lost.list);
  }

  std::mt19937 random_;
  std::uint32_t datagrams_;
  FragmentTable table_;
  std::uint64_t now_ = 1;
  std::uint32_t bucket_ = 0;
};

TEST(FragmentTableAtRandom, GivesOutNothingOfAnotherAndEveryPlaceComesBack) {
  unsigned completed = 0, let_go = 0;
  for (unsigned seed = 0; seed < 24 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    RandomFragments fragments(seed, std::array{64u, 256u, 1024u}[seed % 3]);
    for (int i = 0; i < 30'000 && !::testing::Test::HasFailure(); ++i) {
      fragments.one();
    }
    fragments.finish();
    completed += fragments.completed;
    let_go += fragments.let_go;
  }
  EXPECT_GT(completed, 100u);
  EXPECT_GT(let_go, 100u);
}

}  // namespace
}  // namespace isthmus::test
