#include "control/loop/stream_connection.h"

#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/write.hpp>
#include <utility>

namespace isthmus {
namespace {

namespace asio = boost::asio;
using ErrorCode = boost::system::error_code;

}  // namespace

StreamConnection::StreamConnection(asio::io_context& io, StreamOwner& owner, const StreamLimits& limits,
                                   std::unique_ptr<StreamProtocol> protocol)
    : owner_(owner), limits_(limits), socket_(io), deadline_(io), protocol_(std::move(protocol)) {}

bool StreamConnection::begin(int fd) {
  ErrorCode failed;
  // The family matters only to sockets that are opened here.
  socket_.assign(asio::generic::stream_protocol(AF_UNIX, 0), fd, failed);
  if (failed) {
    ::close(fd);
    return false;
  }
  step();
  return true;
}

void StreamConnection::step() {
  if (closed_ || writing_) {
    return;
  }
  if (feed_ && take_feed()) {
    return;
  }
  if (feed_) {  // until it has lines, only the client's end is awaited
    await_client();
    return;
  }
  if (last_) {
    end();
    return;
  }
  const std::size_t waiting = in_.size();
  if (auto answer = protocol_->next(in_, ended_); answer) {
    last_request_ = Clock::now();
    request_began_ = in_.empty() ? std::nullopt : std::optional(last_request_);
    out_ = std::move(answer->text);
    feed_ = std::move(answer->feed);
    feed_ready_ = feed_ != nullptr;
    awaited_ = answer->late;
    last_ = answer->last;
    write();
  } else if (ended_ || (in_.size() > limits_.request && in_.size() == waiting)) {
    end();
  } else {
    await_client();
  }
}

// True: lines are on their way.
bool StreamConnection::take_feed() {
  if (!feed_ready_) {
    return false;
  }
  auto lines = feed_();
  if (!lines) {
    feed_ = nullptr;
    awaited_ = false;
    if (request_began_) {  // it could not be answered before
      request_began_ = Clock::now();
    }
  }
  feed_ready_ = lines && !lines->empty();
  if (!feed_ready_) {
    return false;
  }
  out_ = std::move(*lines);
  write();
  return true;
}

void StreamConnection::feed() {
  if (feed_) {
    feed_ready_ = true;
    last_active_ = Clock::now();
    step();
  }
}

void StreamConnection::await_client() {
  set_deadline(feed_            ? Clock::time_point::max()
               : request_began_ ? *request_began_ + limits_.request_time
                                : Clock::now() + limits_.idle_time);
  // What a client with a feed sends is kept for later, up to the bound.
  if (ended_ || in_.size() > limits_.request) {
    await_hang_up();
  } else if (!reading_) {
    read();
  }
}

void StreamConnection::read() {
  reading_ = true;
  socket_.async_read_some(asio::buffer(chunk_), [self = shared_from_this()](ErrorCode failed, std::size_t n) {
    self->reading_ = false;
    if (self->closed_) {
      return;
    }
    if (failed && failed != asio::error::eof) {
      self->end();
      return;
    }
    self->ended_ = failed == asio::error::eof;
    self->received(n);
  });
}

void StreamConnection::received(std::size_t bytes) {
  in_.append(chunk_.data(), bytes);
  last_active_ = Clock::now();
  if (bytes > 0 && !request_began_) {
    request_began_ = last_active_;
  }
  step();
}

void StreamConnection::await_hang_up() {
  if (awaiting_hang_up_) {
    return;
  }
  awaiting_hang_up_ = true;
  socket_.async_wait(Socket::wait_error, [self = shared_from_this()](ErrorCode) {
    self->awaiting_hang_up_ = false;
    if (!self->closed_) {
      self->end();
    }
  });
}

void StreamConnection::write() {
  writing_ = true;
  set_deadline(Clock::now() + (feed_ && !awaited_ ? limits_.feed_time : limits_.answer_time));
  asio::async_write(socket_, asio::buffer(out_), [self = shared_from_this()](ErrorCode failed, std::size_t) {
    self->writing_ = false;
    if (self->closed_) {
      return;
    }
    self->out_ = {};
    self->last_active_ = Clock::now();
    if (failed) {
      self->end();
      return;
    }
    self->step();
  });
}

void StreamConnection::set_deadline(Clock::time_point due) {
  if (deadline_.expiry() == due) {
    return;
  }
  deadline_.expires_at(due);
  if (due == Clock::time_point::max()) {
    return;
  }
  deadline_.async_wait([self = shared_from_this(), due](ErrorCode aborted) {
    if (!aborted && !self->closed_ && self->deadline_.expiry() == due) {
      self->deadline_passed();
    }
  });
}

void StreamConnection::deadline_passed() {
  const bool half = !writing_ && request_began_.has_value();
  late_ = late_ || writing_ || half;
  if (!half || last_) {
    end();
    return;
  }
  last_ = true;
  out_ = protocol_->too_slow();
  write();
}

void StreamConnection::drop() {
  closed_ = true;
  feed_ = nullptr;
  deadline_.cancel();
  ErrorCode ignored;
  socket_.close(ignored);
}

void StreamConnection::end() {
  const auto self = shared_from_this();
  drop();
  owner_.ended(*this, late_);
}

}  // namespace isthmus
