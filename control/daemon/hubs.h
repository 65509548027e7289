// The hubs of one gateway: opens what the configuration names, and brings what they publish into the model.
// Adding a kind of hub: its folder under control/source, and its lines in open(). Owner: Gateway. Thread: control.
// Failure: a hub that cannot be opened is an error of open(); what fails later is a problem and the last good state
// stays.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/model/gateway_config.h"
#include "control/compile/compiler.h"
#include "control/daemon/event_loop.h"
#include "control/model/model.h"
#include "control/source/etcd/registration.h"
#include "control/source/source.h"

namespace isthmus {

class Hubs {
 public:
  // All of them, started; `on_change` is called when one has something for take().
  [[nodiscard]] Status open(const GatewayConfig& config, EventLoop& loop, std::function<void()> on_change);
  // This gateway serves: it registers itself where the hub lets it write.
  void announce(const GatewayConfig& config, const OwnGateway& own);
  // What has come since the last call goes into the model. Whether anything has.
  bool take(Model& model);
  // A person asks to look at everything again.
  void reread();

  [[nodiscard]] bool synced() const;
  [[nodiscard]] std::vector<SourceProblem> problems() const;
  // One line about each hub.
  [[nodiscard]] std::vector<std::string> describe() const;
  [[nodiscard]] std::vector<HubState> states() const;

 private:
  // In the order in which they count: of an object that several publish, the first one's stands.
  struct Named {
    const char* hub;  // as the configuration names it
    std::unique_ptr<Source> source;
  };
  std::vector<Named> sources_;
  std::unique_ptr<EtcdRegistration> registration_;  // null: the configuration names no place for it
};

}  // namespace isthmus
