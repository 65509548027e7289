// Route netlink over libmnl: requests with their answers, and notifications.
//
// NetlinkRequests sends a request and waits for the answer (immediate; times out after 5 s).
// NetlinkEvents receives multicast groups without blocking. Thread: control; not shared between threads.
// Attribute integers are in host order, addresses in network order, as in netlink.
#pragma once

#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/api/types.h"

namespace isthmus {

// One message under construction. The family header (ifinfomsg, rtmsg, ndmsg, ...) comes first, then attributes.
class NetlinkMessage {
 public:
  NetlinkMessage(std::uint16_t type, std::uint16_t flags);
  template <typename Header>
  Header& header() {
    return *static_cast<Header*>(mnl_nlmsg_put_extra_header(message_, sizeof(Header)));
  }
  void put(std::uint16_t type, std::uint32_t value) { mnl_attr_put_u32(message_, type, value); }
  void put8(std::uint16_t type, std::uint8_t value) { mnl_attr_put_u8(message_, type, value); }
  void put(std::uint16_t type, std::string_view text);     // zero-terminated on the wire
  void put(std::uint16_t type, const IpAddress& address);  // 4 or 16 bytes
  // A copy of a received one. False: there is no room for it.
  [[nodiscard]] bool put(const nlattr* attribute) { return put_raw(attribute->nla_type, payload_of(attribute)); }
  [[nodiscard]] bool put_raw(std::uint16_t type, std::span<const char> payload) {
    return mnl_attr_put_check(message_, buffer_.size(), type, payload.size(), payload.data());
  }
  [[nodiscard]] static std::span<const char> payload_of(const nlattr* attribute) {
    return {static_cast<const char*>(mnl_attr_get_payload(attribute)), mnl_attr_get_payload_len(attribute)};
  }
  // Attributes put while `put_nested` runs are nested in one of `type`.
  template <typename PutNested>
  void nest(std::uint16_t type, PutNested put_nested) {
    nlattr* start = mnl_attr_nest_start(message_, type);
    put_nested();
    mnl_attr_nest_end(message_, start);
  }
  [[nodiscard]] nlmsghdr* raw() { return message_; }

 private:
  alignas(NLMSG_ALIGNTO) std::array<char, 4096> buffer_{};
  nlmsghdr* message_;
};

// The attributes of a received message by number; those above `kMax` are ignored.
class NetlinkAttributes {
 public:
  static constexpr std::uint16_t kMax = 127;
  // Behind the family header of `header_size` bytes.
  NetlinkAttributes(const nlmsghdr* message, std::size_t header_size);
  explicit NetlinkAttributes(const nlattr* nest);
  NetlinkAttributes(const void* attributes, std::size_t length);
  [[nodiscard]] const nlattr* get(std::uint16_t type) const { return type <= kMax ? by_type_[type] : nullptr; }
  [[nodiscard]] std::optional<std::uint32_t> number(std::uint16_t type) const;  // 1, 2 or 4 bytes long
  [[nodiscard]] std::string text(std::uint16_t type) const;
  [[nodiscard]] std::optional<IpAddress> address(std::uint16_t type) const;  // 4 or 16 bytes long
  [[nodiscard]] std::optional<MacAddress> mac(std::uint16_t type) const;     // 6 bytes long

 private:
  void add_all(const void* attributes, std::size_t length);
  void add(const nlattr* attribute);
  std::array<const nlattr*, kMax + 1> by_type_{};
};

using NetlinkVisit = std::function<void(const nlmsghdr*)>;

// A failed request: errno and, if the kernel gave one, its own message.
struct NetlinkFailure {
  int code = 0;
  std::string text;  // "File exists: ipv4: ..."
};

class NetlinkRequests {
 public:
  [[nodiscard]] static Result<NetlinkRequests> open();
  // Notifications of what these requests change carry it as nlmsg_pid.
  [[nodiscard]] std::uint32_t port() const { return mnl_socket_get_portid(socket_); }
  ~NetlinkRequests();
  NetlinkRequests(NetlinkRequests&& other) noexcept;
  NetlinkRequests& operator=(NetlinkRequests&&) = delete;

  // Sends and waits for the acknowledgement. Empty: success.
  [[nodiscard]] std::optional<NetlinkFailure> apply(NetlinkMessage& message);
  // Sends a get request and visits its one answer.
  [[nodiscard]] std::optional<NetlinkFailure> get(NetlinkMessage& message, const NetlinkVisit& visit);
  // Sends a dump request and visits all answers. If the kernel reports that the table changed meanwhile, the dump is
  // repeated: `restart` runs before each attempt, so that the caller can discard what it has collected.
  [[nodiscard]] std::optional<NetlinkFailure> dump(NetlinkMessage& message, const std::function<void()>& restart,
                                                   const NetlinkVisit& visit);

 private:
  explicit NetlinkRequests(mnl_socket* socket) : socket_(socket), buffer_(1 << 17) {}
  enum class Until { kAck, kOneMessage, kDone };
  [[nodiscard]] std::optional<NetlinkFailure> exchange(NetlinkMessage& message, Until until, const NetlinkVisit& visit);

  mnl_socket* socket_;
  std::vector<char> buffer_;
  std::uint32_t sequence_ = 0;
};

class NetlinkEvents {
 public:
  [[nodiscard]] static Result<NetlinkEvents> open(std::span<const rtnetlink_groups> groups);
  ~NetlinkEvents();
  NetlinkEvents(NetlinkEvents&& other) noexcept;
  NetlinkEvents& operator=(NetlinkEvents&&) = delete;

  [[nodiscard]] int fd() const { return mnl_socket_get_fd(socket_); }
  // Visits all pending messages. False: the kernel dropped notifications; reload the tables.
  [[nodiscard]] bool receive(const NetlinkVisit& visit);

 private:
  explicit NetlinkEvents(mnl_socket* socket) : socket_(socket), buffer_(1 << 16) {}
  mnl_socket* socket_;
  std::vector<char> buffer_;
};

}  // namespace isthmus
