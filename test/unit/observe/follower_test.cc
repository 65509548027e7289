// Those who follow flows on the admin socket while the observer that they follow makes place for another, as where a
// gateway starts anew within its process.
#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <string>

#include "control/admin/client.h"
#include "control/observe/observer.h"
#include "test/support/admin_socket_fixture.h"
#include "test/support/loop_thread.h"
#include "test/support/path_rig.h"
#include "test/unit/model/fleet_builder.h"

namespace isthmus {
namespace {

using test::Actors;
using test::PathRig;

class FollowerTest : public AdminSocketFixture {
 protected:
  void SetUp() override {
    AdminSocketFixture::SetUp();
    (void)fleet_.compile();
    names_.emplace(*fleet_.compiler, fleet_.model);
    observe();
    auto server = AdminServer::listen(thread_.loop(), options_, [this](std::string_view) -> AdminAnswer {
      FlowQuery query;
      query.follow = true;
      auto reader = observer_->read(query);
      return {"begin", std::move(*reader)};
    });
    ASSERT_TRUE(server.ok()) << server.error().text();
    server_ = std::move(*server);
    thread_.start();
  }
  void TearDown() override {
    stop();
    AdminSocketFixture::TearDown();
  }
  void stop() {
    thread_.stop();
    server_.reset();
  }
  void observe() {
    observer_ = std::make_unique<Observer>(ObserverOptions{"east/east-1", 15}, rig_.engine(), *names_);
    observer_->on_flows([this] { server_->feed_clients(); });
  }
  void drop_packet() {  // of another connection each time
    const Actors at;
    (void)rig_.from_local(test::tcp({at.client.address, ++port_}, at.south));
    observer_->poll();
  }

  LoopThread thread_;
  PathRig rig_;
  std::uint16_t port_ = 1000;
  fleet_test::Fleet3 fleet_;
  std::optional<FlowNames> names_;
  std::unique_ptr<Observer> observer_;
  std::unique_ptr<AdminServer> server_;
};

TEST_F(FollowerTest, IsToldTheEndOnceItsObserverIsGone) {
  for (const bool at_once : {true, false}) {  // or with the next observer's first flow
    std::promise<void> began, fed;
    int lines = 0;
    auto client = std::async(std::launch::async, [&] {
      return ask_gateway_for_lines(options_.path, "follow", [&](std::string_view) {
        ++lines;
        if (lines <= 2) {
          (lines == 1 ? began : fed).set_value();
        }
        return true;
      });
    });
    const auto limit = std::chrono::seconds(20);
    bool ended = began.get_future().wait_for(limit) == std::future_status::ready;
    thread_.do_now([this] { drop_packet(); });
    ended = ended && fed.get_future().wait_for(limit) == std::future_status::ready;
    thread_.do_now([this, at_once] {
      observer_.reset();
      if (at_once) {
        server_->feed_clients();
      }
      observe();
      drop_packet();
    });
    ended = ended && client.wait_for(limit) == std::future_status::ready;
    if (!ended) {
      stop();  // so that the client ends
    }
    ASSERT_TRUE(ended);
    const Status status = client.get();
    EXPECT_TRUE(status.ok()) << status.error().text();
    EXPECT_EQ(lines, 2) << "what the next observer has seen is not in it";
  }
}

}  // namespace
}  // namespace isthmus
