#include "control/handover/channel.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "control/loop/unix_address.h"

namespace isthmus {
namespace {

constexpr int kSendMilliseconds = 1000;

bool ready(int fd, short events, int milliseconds, int also = -1) {
  std::array<pollfd, 2> fds{pollfd{fd, events, 0}, pollfd{also, POLLIN, 0}};
  int count = 0;
  while ((count = ::poll(fds.data(), also < 0 ? 1 : 2, milliseconds)) < 0 && errno == EINTR) {
  }
  return count > 0 && fds[0].revents != 0;
}

void take_descriptors(msghdr& header, std::vector<UniqueFd>& into) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
      into.emplace_back(fd);
    }
  }
}

}  // namespace

std::optional<HandOverChannel::Peer> HandOverChannel::peer() const {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return std::nullopt;
  }
  return Peer{credentials.pid, credentials.uid};
}

bool HandOverChannel::send(HandOverKind kind, std::string_view text, const std::vector<int>& descriptors) {
  std::string body(1, static_cast<char>(kind));
  body += text.substr(0, kMaxText);
  iovec part{body.data(), body.size()};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (!descriptors.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(descriptors.size() * sizeof(int));
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
    std::memcpy(CMSG_DATA(rights), descriptors.data(), descriptors.size() * sizeof(int));
  }
  if (closed_ || !ready(socket_.get(), POLLOUT, kSendMilliseconds)) {
    return false;
  }
  return ::sendmsg(socket_.get(), &header, MSG_NOSIGNAL | MSG_DONTWAIT) == static_cast<ssize_t>(body.size());
}

std::optional<HandOverMessage> HandOverChannel::read() {
  std::array<char, kMaxText + 1> body{};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(kMaxDescriptors * sizeof(int))> control{};
  iovec part{body.data(), body.size()};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  ssize_t size = ::recvmsg(socket_.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (size < 0 && errno == ECONNRESET) {  // it has not read all; what it has sent is there all the same
    size = ::recvmsg(socket_.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  }
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
    return std::nullopt;
  }
  HandOverMessage message;
  if (size > 0) {
    take_descriptors(header, message.descriptors);
  }
  if (size <= 0 || (header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    closed_ = true;
    return std::nullopt;
  }
  message.kind = static_cast<HandOverKind>(body[0]);
  message.text.assign(body.data() + 1, static_cast<std::size_t>(size) - 1);
  return message;
}

std::optional<HandOverMessage> HandOverChannel::receive(std::optional<Clock::time_point> until, int also) {
  int wait = -1;
  if (until) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*until - Clock::now());
    wait = static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 600'000));
  }
  return !closed_ && ready(socket_.get(), POLLIN, wait, also) ? read() : std::nullopt;
}

std::optional<HandOverMessage> HandOverChannel::last() {
  static_cast<void>(::shutdown(socket_.get(), SHUT_RD));
  if (closed_) {
    return std::nullopt;
  }
  auto message = read();
  closed_ = false;  // it can still be told something
  return message;
}

Result<UniqueFd> connect_hand_over(const std::string& path) {
  const auto address = unix_address(path);
  if (!address) {
    return address.error();
  }
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd.valid() || ::connect(fd.get(), as_sockaddr(*address), sizeof *address) != 0) {
    return socket_error("no gateway hands over here", path);
  }
  return fd;
}

// For this user alone: it appears with that mode.
Result<UniqueFd> listen_hand_over(const std::string& path) {
  const std::string temporary = path + "." + std::to_string(::getpid());
  const auto address = unix_address(temporary);
  if (!address) {
    return address.error();
  }
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  ::unlink(temporary.c_str());
  const bool done = fd.valid() && ::fchmod(fd.get(), 0600) == 0 &&
                    ::bind(fd.get(), as_sockaddr(*address), sizeof *address) == 0 &&
                    ::chmod(temporary.c_str(), 0600) == 0 && ::listen(fd.get(), 8) == 0 &&
                    ::rename(temporary.c_str(), path.c_str()) == 0;
  if (!done) {
    Error error = socket_error("cannot create the socket for a successor", path,
                               "run as root, or choose an admin.socket in a folder you may write to");
    ::unlink(temporary.c_str());
    return error;
  }
  return fd;
}

}  // namespace isthmus
