#include "control/source/kubernetes/host_lookup.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "dataplane/api/types.h"

namespace isthmus {
namespace {

HostAddresses look_up(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (error != 0) {
    return {{}, "cannot resolve " + host + ": " + gai_strerror(error)};
  }
  HostAddresses out;
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    std::array<char, NI_MAXHOST> text{};
    if (getnameinfo(at->ai_addr, at->ai_addrlen, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) == 0) {
      out.addresses.emplace_back(text.data());
    }
  }
  freeaddrinfo(found);
  if (out.addresses.empty()) {
    out.error = host + " has no address";
  }
  return out;
}

}  // namespace

struct HostLookup::Shared {
  std::mutex mutex;
  boost::asio::io_context* io = nullptr;  // null: the HostLookup was destroyed
  Done done;                              // used only on the io_context's thread
};

HostLookup::HostLookup(boost::asio::io_context& io, const std::string& host, Done done)
    : shared_(std::make_shared<Shared>()) {
  shared_->io = &io;
  shared_->done = std::move(done);
  const auto answer = [](const std::shared_ptr<Shared>& shared, HostAddresses found) {
    const std::lock_guard lock(shared->mutex);
    if (shared->io != nullptr) {
      boost::asio::post(*shared->io, [shared, found = std::move(found)] {
        if (const Done finished = std::exchange(shared->done, nullptr)) {
          finished(found);
        }
      });
    }
  };
  if (IpAddress::parse(host)) {
    answer(shared_, {{host}, {}});
    return;
  }
  try {
    std::thread([shared = shared_, host, answer] { answer(shared, look_up(host)); }).detach();
  } catch (const std::system_error& error) {
    answer(shared_, {{}, std::string("cannot start a thread for the lookup: ") + error.what()});
  }
}

HostLookup::~HostLookup() {
  const std::lock_guard lock(shared_->mutex);
  shared_->io = nullptr;
  shared_->done = nullptr;
}

}  // namespace isthmus
