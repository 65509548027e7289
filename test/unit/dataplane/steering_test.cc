// The engine with a device that rejects steering rules at first.
#include <gtest/gtest.h>

#include "dataplane/api/engine.h"

namespace isthmus {
namespace {

// A device that rejects rules while `rejects` is set. It has no packets.
class RejectingDevice final : public Device {
 public:
  struct State {
    bool rejects = false;
    unsigned steered = 0, changed = 0;  // whole rules, and changes of them
    SteerRules rules;
    Bytes mtu{1500};
    unsigned reopened = 0;
    DeviceCondition condition;
  };
  explicit RejectingDevice(std::shared_ptr<State> state) : state_(std::move(state)) {}
  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] MacAddress mac() const noexcept override { return {}; }
  [[nodiscard]] Bytes mtu() const noexcept override { return state_->mtu; }
  [[nodiscard]] DeviceCondition check() override { return state_->condition; }
  [[nodiscard]] Status reopen() override {
    ++state_->reopened;
    state_->condition = {};
    return Ok{};
  }
  [[nodiscard]] unsigned queues() const noexcept override { return 1; }
  [[nodiscard]] Result<std::unique_ptr<DeviceQueue>> open_queue(WorkerId, unsigned, FramePool&) override {
    return std::unique_ptr<DeviceQueue>(std::make_unique<Queue>());
  }
  [[nodiscard]] Status steer(const SteerRules& rules) override {
    if (state_->rejects) {
      return Error{"no room for the rules", name_, "try again"};
    }
    ++state_->steered;
    state_->rules = rules;
    return Ok{};
  }
  [[nodiscard]] Status change_steer(const SteerChange& change) override {
    if (state_->rejects) {
      return Error{"no room for the rules", name_, "try again"};
    }
    ++state_->changed;
    change.apply_to(state_->rules);
    return Ok{};
  }
  [[nodiscard]] std::string describe() const override { return name_; }

 private:
  class Queue final : public DeviceQueue {
   public:
    unsigned receive(std::span<Frame>) noexcept override { return 0; }
    unsigned transmit(std::span<const Frame>) noexcept override { return 0; }
    void flush() noexcept override {}
    [[nodiscard]] std::span<const int> wait_fds() const noexcept override { return {}; }
    bool arm() noexcept override { return true; }
    [[nodiscard]] QueueCounters counters() const noexcept override { return {}; }
  };
  std::shared_ptr<State> state_;
  std::string name_ = "rejecting";
};

class Steering : public ::testing::Test {
 protected:
  Steering() {
    EngineOptions options;
    options.keep_state = false;
    options.connections = 1024;
    options.drive_by_caller = true;
    options.cluster = ClusterId{1};
    options.tunnel = tunnel_end(*IpAddress::parse("192.0.2.1"));
    auto engine = Engine::create(options);
    EXPECT_TRUE(engine);
    engine_ = std::move(*engine);
    EXPECT_TRUE(engine_->add_device(std::make_unique<RejectingDevice>(device_)));
    EXPECT_TRUE(engine_->start());
  }
  static TableDelta with_remote_prefix(const char* prefix) {
    TableDelta delta;
    delta.clusters = {{ClusterId{1}, true, true, {*Prefix::parse("10.1.0.0/16")}, {}},
                      {ClusterId{2}, false, true, {*Prefix::parse(prefix)}, {}}};
    return delta;
  }
  std::shared_ptr<RejectingDevice::State> device_ = std::make_shared<RejectingDevice::State>();
  std::unique_ptr<Engine> engine_;
};

TEST_F(Steering, ThatFailedIsRetriedByAnEmptyPublish) {
  device_->rejects = true;
  EXPECT_FALSE(engine_->publish(with_remote_prefix("10.2.0.0/16")));
  EXPECT_FALSE(engine_->publish({})) << "still rejected";
  device_->rejects = false;
  EXPECT_TRUE(engine_->publish({}));
  EXPECT_EQ(device_->steered, 1U);
  ASSERT_FALSE(device_->rules.fleet.empty());
  EXPECT_EQ(*device_->rules.fleet.begin(), *Prefix::parse("10.2.0.0/16"));
  EXPECT_TRUE(engine_->publish({}));
  EXPECT_EQ(device_->steered, 1U) << "applied only once";
}

TEST_F(Steering, ThatChangesNamesOnlyWhatIsOther) {
  ASSERT_TRUE(engine_->publish(with_remote_prefix("10.2.0.0/16")));
  ASSERT_TRUE(engine_->publish(with_remote_prefix("10.3.0.0/16")));
  EXPECT_EQ(device_->steered, 1U);
  EXPECT_EQ(device_->changed, 1U);
  EXPECT_EQ(device_->rules.fleet, std::set<Prefix>{*Prefix::parse("10.3.0.0/16")});
  EXPECT_EQ(device_->rules.local_sources, std::set<Prefix>{*Prefix::parse("10.1.0.0/16")});
}

TEST_F(Steering, IsRepeatedAfterAFailureEvenIfTheRulesAreTheOriginalOnesAgain) {
  ASSERT_TRUE(engine_->publish(with_remote_prefix("10.2.0.0/16")));
  const SteerRules first = device_->rules;
  device_->rejects = true;
  EXPECT_FALSE(engine_->publish(with_remote_prefix("10.3.0.0/16")));
  device_->rejects = false;
  EXPECT_TRUE(engine_->publish(with_remote_prefix("10.2.0.0/16")));
  EXPECT_EQ(device_->steered, 2U);
  EXPECT_EQ(device_->rules, first);
}

TEST_F(Steering, ADeviceThatIsDownIsShownAsDown) {
  device_->condition.up = false;
  device_->condition.problems = {{"no carrier", "rejecting", "check the link"}};
  const auto conditions = engine_->check_devices();
  ASSERT_EQ(conditions.size(), 1U);
  EXPECT_EQ(conditions[0].problems.size(), 1U);
  EXPECT_FALSE(engine_->counters().devices[0].up);
  device_->condition = {};
  static_cast<void>(engine_->check_devices());
  EXPECT_TRUE(engine_->counters().devices[0].up);
}

TEST_F(Steering, ADeviceThatCanBeReopenedIsReopenedOnce) {
  device_->condition.up = false;
  device_->condition.reopen = true;
  const auto conditions = engine_->check_devices();
  EXPECT_EQ(device_->reopened, 1U);
  EXPECT_TRUE(conditions[0].up);
  ASSERT_EQ(conditions[0].changes.size(), 1U);
  static_cast<void>(engine_->check_devices());
  EXPECT_EQ(device_->reopened, 1U);
}

// The engine's own threads: a worker that polls `device`.
TEST(EngineThreads, GoOnAfterADeviceWasReopened) {
  auto device = std::make_shared<RejectingDevice::State>();
  EngineOptions options;
  options.keep_state = false;
  options.connections = 1024;
  options.cluster = ClusterId{1};
  options.tunnel = tunnel_end(*IpAddress::parse("192.0.2.1"));
  auto engine = Engine::create(options);
  ASSERT_TRUE(engine);
  ASSERT_TRUE((*engine)->add_device(std::make_unique<RejectingDevice>(device)));
  ASSERT_TRUE((*engine)->start());
  for (unsigned i = 1; i <= 3; ++i) {
    device->condition.reopen = true;
    EXPECT_TRUE((*engine)->check_devices()[0].problems.empty());
    EXPECT_EQ(device->reopened, i);
  }
  (*engine)->stop();
}

TEST(EngineThreads, ACpuThatDoesNotExistIsAnErrorThatNamesIt) {
  EngineOptions options;
  options.keep_state = false;
  options.connections = 1024;
  options.cluster = ClusterId{1};
  options.tunnel = tunnel_end(*IpAddress::parse("192.0.2.1"));
  options.cores = {1022};
  auto engine = Engine::create(options);
  ASSERT_TRUE(engine);
  const Status started = (*engine)->start();
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().text().find("CPU 1022"), std::string::npos) << started.error().text();
  EXPECT_EQ(started.error().where, "engine.cores");
  EXPECT_FALSE(started.error().fix.empty());
}

}  // namespace
}  // namespace isthmus
