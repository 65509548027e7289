// Resolves host names without blocking the calling thread. An IP address as text is returned as it is. Thread: the
// io_context's. getaddrinfo() cannot be interrupted, so it runs on a detached thread that touches only the state it
// shares with the caller.
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
  std::vector<std::string> addresses;  // as text, in the order to try; not empty unless there is an error
  std::string error;
};

class HostLookup {
 public:
  using Done = std::function<void(const HostAddresses&)>;
  // Calls `done` on the io_context's thread, unless this object is destroyed first.
  HostLookup(boost::asio::io_context& io, const std::string& host, Done done);
  ~HostLookup();
  HostLookup(const HostLookup&) = delete;
  HostLookup& operator=(const HostLookup&) = delete;

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

}  // namespace isthmus
