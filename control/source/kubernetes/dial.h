// Opens a TCP connection to one of several addresses (RFC 8305, happy eyeballs): the next address is tried where one
// has failed or has not answered for a moment, and the first that answers is taken. Each has its own deadline, so that
// one that is silent does not use up the time of the others. Thread: the io_context's only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <vector>

namespace isthmus {

class Dial : public std::enable_shared_from_this<Dial> {
 public:
  using Tcp = boost::asio::ip::tcp;
  using Error = boost::system::error_code;
  // The error is that of the address tried first, or `timed_out`; then the socket is closed.
  using Done = std::function<void(Error, Tcp::socket)>;

  static constexpr std::chrono::milliseconds kNext{250};

  // `deadline`: per address. Precondition: there is an address. Owned by its pending operations too.
  Dial(boost::asio::io_context& io, std::vector<Tcp::endpoint> addresses, std::chrono::milliseconds deadline,
       Done done);
  void start() { try_next(); }
  // `done` is not called after this.
  void cancel();

 private:
  struct Attempt {
    explicit Attempt(boost::asio::io_context& io) : socket(io), deadline(io) {}
    Tcp::socket socket;
    boost::asio::steady_timer deadline;
    bool ended = false;
  };
  void try_next();
  void ended(const std::shared_ptr<Attempt>& attempt, Error error);
  void finish(Error error, Tcp::socket socket);

  boost::asio::io_context& io_;
  std::vector<Tcp::endpoint> addresses_;
  std::chrono::milliseconds deadline_;
  Done done_;
  boost::asio::steady_timer next_;
  std::vector<std::shared_ptr<Attempt>> attempts_;
  std::size_t running_ = 0;
  Error first_error_;
};

}  // namespace isthmus
