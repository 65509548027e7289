// A TAP interface: frames written to it arrive at the kernel's stack, frames that the stack sends can be read from it.
//
// It is persistent: the kernel keeps it, without a carrier, when the process ends, so that addresses, routes and
// connections of the host outlive a restart; who opens it next adopts it. No offloads: each frame is a whole packet
// with its checksums. Thread: control, in the network namespace of the process; reads and writes of fd() are another's.
// Failure: errors that name the interface.
#pragma once

#include <string>

#include "dataplane/base/result.h"
#include "dataplane/base/types.h"
#include "dataplane/io/unique_fd.h"
#include "dataplane/net/ip_address.h"

namespace isthmus {

struct TapFacts {
  int index = 0;
  MacAddress mac;
  Bytes mtu{0};
  bool up = false;       // administratively
  bool running = false;  // up, and with a carrier
};

class Tap {
 public:
  // Makes it, or adopts the one of that name that no process has. Error: the name is another kind of interface's, or
  // another process has the TAP.
  [[nodiscard]] static Result<Tap> open(const std::string& name);

  [[nodiscard]] int fd() const noexcept { return tap_.get(); }
  // Error: there is no interface of that name here any more.
  [[nodiscard]] Result<TapFacts> facts() const;
  [[nodiscard]] Status set_mac(MacAddress mac);
  [[nodiscard]] Status set_mtu(Bytes mtu);
  [[nodiscard]] Status bring_up();
  [[nodiscard]] Status set_carrier(bool carrier);
  // It goes away when its descriptor is closed.
  [[nodiscard]] Status forget();

 private:
  Tap(std::string name, UniqueFd tap, UniqueFd socket)
      : name_(std::move(name)), tap_(std::move(tap)), socket_(std::move(socket)) {}
  [[nodiscard]] Error tap_error(const char* what, const char* fix) const;

  std::string name_;
  UniqueFd tap_, socket_;
};

}  // namespace isthmus
