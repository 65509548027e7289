#include "control/source/kubernetes/dial.h"

#include <utility>

namespace isthmus {

Dial::Dial(boost::asio::io_context& io, std::vector<Tcp::endpoint> addresses, std::chrono::milliseconds deadline,
           Done done)
    : io_(io), addresses_(std::move(addresses)), deadline_(deadline), done_(std::move(done)), next_(io) {}

void Dial::try_next() {
  if (!done_ || attempts_.size() == addresses_.size()) {
    return;
  }
  const auto attempt = attempts_.emplace_back(std::make_shared<Attempt>(io_));
  ++running_;
  attempt->deadline.expires_after(deadline_);
  attempt->deadline.async_wait([self = shared_from_this(), attempt](Error stopped) {
    if (!stopped) {
      self->ended(attempt, boost::asio::error::timed_out);
    }
  });
  attempt->socket.async_connect(addresses_[attempts_.size() - 1],
                                [self = shared_from_this(), attempt](Error error) { self->ended(attempt, error); });
  next_.expires_after(kNext);
  next_.async_wait([self = shared_from_this()](Error stopped) {
    if (!stopped) {
      self->try_next();
    }
  });
}

void Dial::ended(const std::shared_ptr<Attempt>& attempt, Error error) {
  if (!done_ || std::exchange(attempt->ended, true)) {
    return;
  }
  attempt->deadline.cancel();
  --running_;
  if (!error) {
    finish({}, std::move(attempt->socket));
    return;
  }
  Error ignored;
  attempt->socket.close(ignored);
  if (attempt == attempts_.front()) {
    first_error_ = error;
  }
  if (attempts_.size() < addresses_.size()) {
    try_next();
  } else if (running_ == 0) {
    finish(first_error_, Tcp::socket(io_));
  }
}

void Dial::finish(Error error, Tcp::socket socket) {
  const Done done = std::exchange(done_, nullptr);
  cancel();
  done(error, std::move(socket));
}

void Dial::cancel() {
  done_ = nullptr;
  next_.cancel();
  for (const auto& attempt : attempts_) {
    Error ignored;
    attempt->deadline.cancel();
    attempt->socket.close(ignored);
  }
}

}  // namespace isthmus
