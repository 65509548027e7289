// Listing and watching against a fake client, which can produce replies that are rare with a real server.
#include "control/source/etcd/follower.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/source/etcd/loop.h"

namespace isthmus {
namespace {

using testing::ElementsAre;

constexpr std::uint64_t kEtcd = 77;

struct AskedRange {
  EtcdRange range;
  std::int64_t limit, revision;
  EtcdClient::OnRange done;
  EtcdClient::OnFailure failed;
};
struct AskedWatch {
  std::int64_t start;
  EtcdClient::OnWatch reply;
  EtcdClient::OnEnd end;
};

class FakeClient final : public EtcdClient {
 public:
  EtcdCallHandle range(const EtcdRange& range, std::int64_t limit, std::int64_t revision, OnRange done,
                       OnFailure failed) override {
    ranges.push_back({range, limit, revision, std::move(done), std::move(failed)});
    return std::make_unique<EtcdCall>();
  }
  EtcdCallHandle watch(const EtcdRange&, std::int64_t start, OnWatch reply, OnEnd end) override {
    watches.push_back({start, std::move(reply), std::move(end)});
    return std::make_unique<EtcdCall>();
  }
  EtcdCallHandle put(const std::string&, const std::string&, std::int64_t, OnDone, OnFailure) override { return {}; }
  EtcdCallHandle grant(std::chrono::seconds, OnLease, OnFailure) override { return {}; }
  EtcdCallHandle revoke(std::int64_t, OnDone, OnFailure) override { return {}; }
  EtcdCallHandle keep_alive(std::int64_t, OnLease, OnFailure) override { return {}; }
  bool connected() const override { return up; }

  std::vector<AskedRange> ranges;
  std::vector<AskedWatch> watches;
  bool up = true;
};

class Recorder final : public EtcdFollower::Handler {
 public:
  void list_begins() override { calls.emplace_back("begin"); }
  void put(std::string_view suffix, std::string_view value) override {
    calls.push_back("put " + std::string(suffix) + "=" + std::string(value));
  }
  void removed(std::string_view suffix) override { calls.push_back("removed " + std::string(suffix)); }
  void list_ends() override { calls.emplace_back("end"); }
  void range_failed(const EtcdFailure& failure) override { calls.push_back("failed: " + failure.text); }
  void connection_lost(const std::string& why, EtcdFailure::Kind) override { calls.push_back("lost: " + why); }
  std::vector<std::string> take() { return std::exchange(calls, {}); }
  std::vector<std::string> calls;
};

class FollowerTest : public testing::Test {
 protected:
  FollowerTest() { follower.start(); }
  // Runs the loop for so long.
  void run_for(std::chrono::milliseconds time) {
    EtcdTimer end(loop);
    end.set(time, [&] { loop.stop(); });
    loop.run([] {});
  }
  static EtcdRangeReply page(std::int64_t revision, std::vector<EtcdKeyValue> kvs, bool more = false) {
    return {{true, kEtcd, revision}, std::move(kvs), more};
  }
  static EtcdWatchReply events(std::int64_t revision, std::vector<EtcdEvent> events) {
    return {{true, kEtcd, revision}, false, false, 0, {}, std::move(events)};
  }
  static EtcdWatchReply created(std::int64_t revision) { return {{true, kEtcd, revision}, true, false, 0, {}, {}}; }
  void list_at(std::int64_t revision) { client.ranges.back().done(page(revision, {{"p/a", "1", 3}})); }

  EtcdLoop loop;
  FakeClient client;
  EtcdPin pin;
  Recorder recorder;
  EtcdFollower follower{
      loop,
      client,
      pin,
      {2, 1 << 20, std::chrono::milliseconds(1), std::chrono::milliseconds(4), std::chrono::milliseconds(1)},
      prefix_range("p/"),
      2,
      recorder};
};

TEST_F(FollowerTest, AListUsesTheRevisionOfItsFirstPageAndTheWatchStartsAfterIt) {
  EXPECT_EQ(client.ranges[0].range.key, "p/");
  EXPECT_EQ(client.ranges[0].range.end, "p0");
  EXPECT_EQ(client.ranges[0].limit, 2);
  EXPECT_EQ(client.ranges[0].revision, 0);
  client.ranges[0].done(page(100, {{"p/a", "1", 3}, {"p/b", "2", 4}}, true));
  ASSERT_EQ(client.ranges.size(), 2U);
  EXPECT_EQ(client.ranges[1].range.key, std::string("p/b\0", 4));
  EXPECT_EQ(client.ranges[1].revision, 100);
  EXPECT_EQ(client.ranges[1].limit, 8);  // small keys: pages grow
  client.ranges[1].done(page(120, {{"p/c", "3", 5}}));
  EXPECT_THAT(recorder.take(), ElementsAre("begin", "put a=1", "put b=2", "put c=3", "end"));
  ASSERT_EQ(client.watches.size(), 1U);
  EXPECT_EQ(client.watches[0].start, 101);
  client.watches[0].reply(created(120));
  client.watches[0].reply(events(121, {{false, {"p/b", "4", 121}}, {true, {"p/a", "", 121}}}));
  EXPECT_THAT(recorder.take(), ElementsAre("put b=4", "removed a"));
  EXPECT_TRUE(follower.listed());
}

// Batches of a lagging watcher all have the store's current revision in their header.
TEST_F(FollowerTest, TheWatchResumesAfterTheLastEventsRevisionNotTheHeaders) {
  list_at(100);
  client.watches[0].reply(created(5000));
  client.watches[0].reply(events(5000, {{false, {"p/a", "2", 1999}}}));
  EXPECT_EQ(follower.next_revision(), 2000);
  client.watches[0].end(nullptr);
  run_for(std::chrono::milliseconds(10));
  ASSERT_EQ(client.watches.size(), 2U);
  EXPECT_EQ(client.watches[1].start, 2000);
  EXPECT_EQ(client.ranges.size(), 1U);
}

TEST_F(FollowerTest, AReplyWithoutEventsAdvancesTheRevisionToResumeFrom) {
  list_at(100);
  client.watches[0].reply(created(100));
  client.watches[0].reply(events(300, {}));
  EXPECT_EQ(follower.next_revision(), 301);
}

TEST_F(FollowerTest, ACompactionListsAgainAndReportsNothingBefore) {
  list_at(100);
  recorder.take();
  EtcdWatchReply canceled = events(200, {});
  canceled.canceled = true;
  canceled.compact_revision = 150;
  client.watches[0].reply(canceled);
  EXPECT_FALSE(follower.listed());
  run_for(std::chrono::milliseconds(10));
  ASSERT_EQ(client.ranges.size(), 2U);
  EXPECT_THAT(recorder.take(), testing::IsEmpty());
  client.ranges[1].done(page(210, {{"p/b", "2", 205}}));
  EXPECT_THAT(recorder.take(), ElementsAre("begin", "put b=2", "end"));
  EXPECT_EQ(client.watches.back().start, 211);
}

TEST_F(FollowerTest, APageOfACompactedRevisionRestartsTheList) {
  client.ranges[0].done(page(100, {{"p/a", "1", 3}, {"p/b", "2", 4}}, true));
  client.ranges[1].failed({EtcdFailure::Kind::kCompacted, "required revision has been compacted"});
  run_for(std::chrono::milliseconds(10));
  ASSERT_EQ(client.ranges.size(), 3U);
  EXPECT_EQ(client.ranges[2].revision, 0);
  EXPECT_EQ(client.ranges[2].range.key, "p/");
}

TEST_F(FollowerTest, AnotherEtcdEndsTheConnectionWithoutRemovingKeys) {
  list_at(100);
  recorder.take();
  EtcdWatchReply other = events(3, {{true, {"p/a", "", 3}}});
  other.header.cluster_id = 78;
  client.watches[0].reply(other);
  EXPECT_THAT(recorder.take(), ElementsAre(testing::HasSubstr("lost: another etcd")));
  EXPECT_FALSE(follower.listed());
}

TEST_F(FollowerTest, AReplyWithoutAHeaderEndsTheConnection) {
  client.ranges[0].done({{}, {}, false});
  EXPECT_THAT(recorder.take(), ElementsAre(testing::HasSubstr("lost:")));
}

TEST_F(FollowerTest, AnEtcdWhoseRevisionWentBackEndsTheConnection) {
  list_at(100);
  recorder.take();
  client.watches[0].reply(created(7));
  EXPECT_THAT(recorder.take(), ElementsAre(testing::HasSubstr("lost: the etcd lost its history")));
}

TEST_F(FollowerTest, ADenialWithinTheStreamIsReportedAndRetriedWithBackOff) {
  list_at(100);
  recorder.take();
  EtcdWatchReply denied = events(100, {});
  denied.created = denied.canceled = true;
  denied.reason = "etcdserver: permission denied";
  client.watches[0].reply(denied);
  EXPECT_THAT(recorder.take(), ElementsAre("failed: etcdserver: permission denied"));
  EXPECT_EQ(client.ranges.size(), 1U);
  run_for(std::chrono::milliseconds(20));
  EXPECT_EQ(client.ranges.size(), 2U);
  client.ranges[1].failed({EtcdFailure::Kind::kDenied, "etcdserver: permission denied"});
  EXPECT_THAT(recorder.take(), ElementsAre("failed: etcdserver: permission denied"));
}

TEST_F(FollowerTest, ALostConnectionIsPassedToTheHandlerAndNotRetried) {
  list_at(100);
  recorder.take();
  const EtcdFailure failure{EtcdFailure::Kind::kConnection, "Socket closed"};
  client.watches[0].end(&failure);
  EXPECT_THAT(recorder.take(), ElementsAre("lost: Socket closed"));
  run_for(std::chrono::milliseconds(10));
  EXPECT_EQ(client.ranges.size(), 1U);
}

TEST_F(FollowerTest, AStreamThatEndsWithItsTransportIsALostConnection) {
  list_at(100);
  recorder.take();
  client.up = false;
  client.watches[0].end(nullptr);
  EXPECT_THAT(recorder.take(), ElementsAre("lost: the connection was lost"));
}

TEST(PrefixRangeTest, TheEndFollowsTheLastKey) {
  EXPECT_EQ(prefix_range("a/").end, "a0");
  EXPECT_EQ(prefix_range("a\xff").end, "b");
  EXPECT_EQ(prefix_range("\xff\xff").end, std::string(1, '\0'));
}

}  // namespace
}  // namespace isthmus
