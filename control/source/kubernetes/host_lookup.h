// Names of servers as addresses, without blocking the thread that asks. Text that is an address is answered without
// asking anybody. Thread: the io_context's. The lookup itself runs on a thread of its own which nobody waits for,
// because getaddrinfo() cannot be interrupted; it touches only what it shares with the caller.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace boost::asio {
class io_context;
}

namespace isthmus {

struct HostAddresses {
  std::vector<std::string> addresses;  // as text, in the order to try them; never empty without an error
  std::string error;
};

class HostLookup {
 public:
  using Done = std::function<void(const HostAddresses&)>;
  // Calls `done` on the io_context's thread, unless this object is destroyed before.
  HostLookup(boost::asio::io_context& io, const std::string& host, Done done);
  ~HostLookup();
  HostLookup(const HostLookup&) = delete;
  HostLookup& operator=(const HostLookup&) = delete;

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

}  // namespace isthmus
