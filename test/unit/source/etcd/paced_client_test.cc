// The rate limit of one cluster's list requests.
#include "control/source/etcd/paced_client.h"

#include <gtest/gtest.h>

namespace isthmus {
namespace {

class CountingClient final : public EtcdClient {
 public:
  EtcdCallHandle range(const EtcdRange& range, std::int64_t, std::int64_t, OnRange, OnFailure) override {
    asked.push_back(range.key);
    if (on_range) {
      on_range();
    }
    return std::make_unique<EtcdCall>();
  }
  EtcdCallHandle watch(const EtcdRange&, std::int64_t, OnWatch, OnEnd) override {
    ++watches;
    return std::make_unique<EtcdCall>();
  }
  EtcdCallHandle put(const std::string&, const std::string&, std::int64_t, OnDone, OnFailure) override { return {}; }
  EtcdCallHandle grant(std::chrono::seconds, OnLease, OnFailure) override { return {}; }
  EtcdCallHandle revoke(std::int64_t, OnDone, OnFailure) override { return {}; }
  EtcdCallHandle keep_alive(std::int64_t, OnLease, OnFailure) override { return {}; }
  bool connected() const override { return true; }

  std::vector<std::string> asked;
  unsigned watches = 0;
  std::function<void()> on_range;
};

class PacedClientTest : public ::testing::Test {
 protected:
  EtcdCallHandle read(PacedClient& client, const std::string& key) {
    return client.range(
        {key, {}}, 1, 0, [](const EtcdRangeReply&) {}, [](const EtcdFailure&) {});
  }
  EtcdLoop loop;
  CountingClient inner;
};

TEST_F(PacedClientTest, ABurstOfOneSecondIsSentAtOnceAndTheRestInOrder) {
  PacedClient client(loop, inner, 5);
  std::vector<EtcdCallHandle> calls;
  for (int i = 0; i < 8; ++i) {
    calls.push_back(read(client, std::to_string(i)));
  }
  // On a stalled machine, a sixth may have been sent already.
  EXPECT_GE(inner.asked.size(), 5u);
  inner.on_range = [&] {
    if (inner.asked.size() == 8) {
      loop.stop();
    }
  };
  if (inner.asked.size() < 8) {
    loop.run([] {});
  }
  EXPECT_EQ(inner.asked, (std::vector<std::string>{"0", "1", "2", "3", "4", "5", "6", "7"}));
  EXPECT_EQ(client.waiting(), 0u);
}

TEST_F(PacedClientTest, WatchesAreNotLimited) {
  PacedClient client(loop, inner, 1);
  const auto first = read(client, "a"), second = read(client, "b");
  const auto watch = client.watch(
      {"c", {}}, 1, [](const EtcdWatchReply&) {}, [](const EtcdFailure*) {});
  EXPECT_EQ(inner.watches, 1u);
}

TEST_F(PacedClientTest, ACanceledCallIsNeverSent) {
  PacedClient client(loop, inner, 1);
  auto first = read(client, "a"), second = read(client, "b");
  const auto third = read(client, "c");
  second.reset();
  inner.on_range = [&] {
    if (inner.asked.back() == "c") {
      loop.stop();
    }
  };
  if (inner.asked.back() != "c") {
    loop.run([] {});
  }
  EXPECT_EQ(inner.asked, (std::vector<std::string>{"a", "c"}));
}

TEST_F(PacedClientTest, ACallMayOutliveItsClient) {
  EtcdCallHandle waiting;
  {
    PacedClient client(loop, inner, 1);
    const auto first = read(client, "a");
    waiting = read(client, "b");
  }
  waiting.reset();
  EXPECT_EQ(inner.asked, std::vector<std::string>{"a"});
}

TEST_F(PacedClientTest, WithoutALimitNothingWaits) {
  PacedClient client(loop, inner, 0);
  std::vector<EtcdCallHandle> calls;
  for (int i = 0; i < 1000; ++i) {
    calls.push_back(read(client, "k"));
  }
  EXPECT_EQ(inner.asked.size(), 1000u);
}

}  // namespace
}  // namespace isthmus
