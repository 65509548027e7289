#include "control/kernel/netlink.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace isthmus {
namespace {

constexpr int kEventBuffer = 4 << 20;  // bytes of notifications that the kernel queues before it drops them
constexpr int kDumpAttempts = 5;

Error socket_error(const char* what) {
  return {std::string(what) + ": " + std::strerror(errno), "netlink", "run as root or with CAP_NET_ADMIN"};
}

NetlinkFailure failure(int code) { return {code, std::strerror(code)}; }

// The kernel's own message in an NLMSG_ERROR (extended acknowledgement), after the request it may quote.
std::string extended_text(const nlmsghdr* reply) {
  if ((reply->nlmsg_flags & NLM_F_ACK_TLVS) == 0) {
    return {};
  }
  const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(reply));
  std::size_t skip = sizeof(*error);
  if ((reply->nlmsg_flags & NLM_F_CAPPED) == 0) {
    skip += mnl_nlmsg_get_payload_len(&error->msg);
  }
  return NetlinkAttributes(reply, skip).text(NLMSGERR_ATTR_MSG);
}

}  // namespace

NetlinkMessage::NetlinkMessage(std::uint16_t type, std::uint16_t flags)
    : message_(mnl_nlmsg_put_header(buffer_.data())) {
  message_->nlmsg_type = type;
  message_->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
}

void NetlinkMessage::put(std::uint16_t type, std::string_view text) {
  mnl_attr_put_strz(message_, type, std::string(text).c_str());
}

void NetlinkMessage::put(std::uint16_t type, const IpAddress& address) {
  const std::uint8_t* bytes = address.bytes().data();
  if (address.is_ipv4()) {
    mnl_attr_put(message_, type, 4, bytes + 12);
  } else {
    mnl_attr_put(message_, type, 16, bytes);
  }
}

NetlinkAttributes::NetlinkAttributes(const nlmsghdr* message, std::size_t header_size) {
  const std::size_t before = MNL_ALIGN(header_size);
  const std::size_t length = mnl_nlmsg_get_payload_len(message);
  if (length > before) {
    add_all(static_cast<const char*>(mnl_nlmsg_get_payload(message)) + before, length - before);
  }
}

NetlinkAttributes::NetlinkAttributes(const nlattr* nest) {
  add_all(mnl_attr_get_payload(nest), mnl_attr_get_payload_len(nest));
}

NetlinkAttributes::NetlinkAttributes(const void* attributes, std::size_t length) { add_all(attributes, length); }

void NetlinkAttributes::add_all(const void* attributes, std::size_t length) {
  const nlattr* attribute = static_cast<const nlattr*>(attributes);
  for (const char* end = static_cast<const char*>(attributes) + length;
       mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)));
       attribute = mnl_attr_next(attribute)) {
    add(attribute);
  }
}

void NetlinkAttributes::add(const nlattr* attribute) {
  const std::uint16_t type = mnl_attr_get_type(attribute);
  if (type <= kMax) {
    by_type_[type] = attribute;
  }
}

std::optional<std::uint32_t> NetlinkAttributes::number(std::uint16_t type) const {
  const nlattr* attribute = get(type);
  if (attribute == nullptr) {
    return std::nullopt;
  }
  switch (mnl_attr_get_payload_len(attribute)) {
    case 1:
      return mnl_attr_get_u8(attribute);
    case 2:
      return mnl_attr_get_u16(attribute);
    case 4:
      return mnl_attr_get_u32(attribute);
    default:
      return std::nullopt;
  }
}

std::string NetlinkAttributes::text(std::uint16_t type) const {
  const nlattr* attribute = get(type);
  if (attribute == nullptr) {
    return {};
  }
  const char* start = mnl_attr_get_str(attribute);
  return {start, strnlen(start, mnl_attr_get_payload_len(attribute))};
}

std::optional<IpAddress> NetlinkAttributes::address(std::uint16_t type) const {
  const nlattr* attribute = get(type);
  if (attribute == nullptr) {
    return std::nullopt;
  }
  const auto* bytes = static_cast<const std::uint8_t*>(mnl_attr_get_payload(attribute));
  if (mnl_attr_get_payload_len(attribute) == 16) {
    return IpAddress::ipv6(bytes);
  }
  if (mnl_attr_get_payload_len(attribute) == 4) {
    std::uint32_t wire = 0;
    std::memcpy(&wire, bytes, 4);
    return IpAddress::ipv4(Be32::raw(wire));
  }
  return std::nullopt;
}

std::optional<MacAddress> NetlinkAttributes::mac(std::uint16_t type) const {
  const nlattr* attribute = get(type);
  MacAddress mac;
  if (attribute == nullptr || mnl_attr_get_payload_len(attribute) != mac.bytes.size()) {
    return std::nullopt;
  }
  std::memcpy(mac.bytes.data(), mnl_attr_get_payload(attribute), mac.bytes.size());
  return mac;
}

Result<NetlinkRequests> NetlinkRequests::open() {
  mnl_socket* socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
  if (socket == nullptr) {
    return socket_error("cannot open a netlink socket");
  }
  NetlinkRequests requests(socket);
  if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) {
    return socket_error("cannot bind a netlink socket");
  }
  // Optional features of newer kernels: error messages as text, and dumps filtered by the kernel.
  int one = 1;
  mnl_socket_setsockopt(socket, NETLINK_EXT_ACK, &one, sizeof(one));
  mnl_socket_setsockopt(socket, NETLINK_CAP_ACK, &one, sizeof(one));
  mnl_socket_setsockopt(socket, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
  const timeval timeout{.tv_sec = 5, .tv_usec = 0};
  setsockopt(mnl_socket_get_fd(socket), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  return requests;
}

NetlinkRequests::NetlinkRequests(NetlinkRequests&& other) noexcept
    : socket_(std::exchange(other.socket_, nullptr)), buffer_(std::move(other.buffer_)), sequence_(other.sequence_) {}

NetlinkRequests::~NetlinkRequests() {
  if (socket_ != nullptr) {
    mnl_socket_close(socket_);
  }
}

std::optional<NetlinkFailure> NetlinkRequests::apply(NetlinkMessage& message) {
  message.raw()->nlmsg_flags |= NLM_F_ACK;
  return exchange(message, Until::kAck, [](const nlmsghdr*) {});
}

std::optional<NetlinkFailure> NetlinkRequests::get(NetlinkMessage& message, const NetlinkVisit& visit) {
  return exchange(message, Until::kOneMessage, visit);
}

std::optional<NetlinkFailure> NetlinkRequests::dump(NetlinkMessage& message, const std::function<void()>& restart,
                                                    const NetlinkVisit& visit) {
  message.raw()->nlmsg_flags |= NLM_F_DUMP;
  std::optional<NetlinkFailure> failed;
  for (int attempt = 0; attempt < kDumpAttempts; ++attempt) {
    restart();
    failed = exchange(message, Until::kDone, visit);
    if (!failed || failed->code != EINTR) {
      break;
    }
  }
  return failed;
}

std::optional<NetlinkFailure> NetlinkRequests::exchange(NetlinkMessage& message, Until until,
                                                        const NetlinkVisit& visit) {
  message.raw()->nlmsg_seq = ++sequence_;
  if (mnl_socket_sendto(socket_, message.raw(), message.raw()->nlmsg_len) < 0) {
    return failure(errno);
  }
  bool interrupted = false;
  while (true) {
    const ssize_t received = mnl_socket_recvfrom(socket_, buffer_.data(), buffer_.size());
    if (received < 0) {
      if (errno == EINTR) {
        continue;
      }
      return failure(errno == EAGAIN ? ETIMEDOUT : errno);
    }
    int left = static_cast<int>(received);
    for (const auto* reply = reinterpret_cast<const nlmsghdr*>(buffer_.data()); mnl_nlmsg_ok(reply, left);
         reply = mnl_nlmsg_next(reply, &left)) {
      if (reply->nlmsg_seq != sequence_) {
        continue;  // a late answer to a request that timed out
      }
      interrupted = interrupted || (reply->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
      if (reply->nlmsg_type == NLMSG_ERROR || reply->nlmsg_type == NLMSG_DONE) {
        // Both start with an int: minus errno, or 0.
        const int code = mnl_nlmsg_get_payload_len(reply) >= sizeof(int)
                             ? -*static_cast<const int*>(mnl_nlmsg_get_payload(reply))
                             : 0;
        if (code == 0) {
          return interrupted ? std::optional(failure(EINTR)) : std::nullopt;
        }
        NetlinkFailure error = failure(code);
        if (const std::string text = reply->nlmsg_type == NLMSG_ERROR ? extended_text(reply) : ""; !text.empty()) {
          error.text += ": " + text;
        }
        return error;
      }
      visit(reply);
      if (until == Until::kOneMessage) {
        return std::nullopt;
      }
    }
  }
}

Result<NetlinkEvents> NetlinkEvents::open(std::span<const rtnetlink_groups> groups) {
  mnl_socket* socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (socket == nullptr) {
    return socket_error("cannot open a netlink socket");
  }
  NetlinkEvents events(socket);
  if (setsockopt(events.fd(), SOL_SOCKET, SO_RCVBUFFORCE, &kEventBuffer, sizeof(kEventBuffer)) < 0) {
    setsockopt(events.fd(), SOL_SOCKET, SO_RCVBUF, &kEventBuffer, sizeof(kEventBuffer));
  }
  if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) {
    return socket_error("cannot bind a netlink socket");
  }
  for (const rtnetlink_groups group : groups) {
    int number = group;
    if (mnl_socket_setsockopt(socket, NETLINK_ADD_MEMBERSHIP, &number, sizeof(number)) < 0) {
      return socket_error("cannot subscribe to kernel notifications");
    }
  }
  return events;
}

NetlinkEvents::NetlinkEvents(NetlinkEvents&& other) noexcept
    : socket_(std::exchange(other.socket_, nullptr)), buffer_(std::move(other.buffer_)) {}

NetlinkEvents::~NetlinkEvents() {
  if (socket_ != nullptr) {
    mnl_socket_close(socket_);
  }
}

bool NetlinkEvents::receive(const NetlinkVisit& visit) {
  bool complete = true;
  while (true) {
    const ssize_t received = mnl_socket_recvfrom(socket_, buffer_.data(), buffer_.size());
    if (received < 0) {
      if (errno == EINTR) {
        continue;
      }
      if (errno == ENOBUFS || errno == ENOSPC) {
        complete = false;
        continue;
      }
      return complete;
    }
    int left = static_cast<int>(received);
    for (const auto* message = reinterpret_cast<const nlmsghdr*>(buffer_.data()); mnl_nlmsg_ok(message, left);
         message = mnl_nlmsg_next(message, &left)) {
      visit(message);
    }
  }
}

}  // namespace isthmus
