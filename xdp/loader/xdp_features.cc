#include "xdp/loader/xdp_features.h"

#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>

#include <array>
#include <cstring>
#include <memory>

namespace isthmus {
namespace {

// Of include/uapi/linux/netdev.h, which the headers of older systems lack.
constexpr std::uint8_t kDevGet = 1;
constexpr std::uint16_t kIfindex = 1, kXdpFeatures = 3;

struct NetlinkCloser {
  void operator()(mnl_socket* socket) const noexcept { mnl_socket_close(socket); }
};
using NetlinkSocket = std::unique_ptr<mnl_socket, NetlinkCloser>;
using AnswerBuffer = std::array<char, 8192>;

[[nodiscard]] nlmsghdr* netlink_request(AnswerBuffer& buffer, std::uint16_t family, std::uint8_t command) {
  nlmsghdr* message = mnl_nlmsg_put_header(buffer.data());
  message->nlmsg_type = family;
  message->nlmsg_flags = NLM_F_REQUEST;
  message->nlmsg_seq = 1;
  auto* header = static_cast<genlmsghdr*>(mnl_nlmsg_put_extra_header(message, sizeof(genlmsghdr)));
  header->cmd = command;
  header->version = 1;
  return message;
}

// The attribute `type` of the answer, copied; nullopt: an error, or an answer without it.
template <typename Value>
[[nodiscard]] std::optional<Value> ask(const NetlinkSocket& socket, AnswerBuffer& buffer, const nlmsghdr* message,
                                       std::uint16_t type) {
  if (mnl_socket_sendto(socket.get(), message, message->nlmsg_len) < 0) {
    return std::nullopt;
  }
  const ssize_t bytes = mnl_socket_recvfrom(socket.get(), buffer.data(), buffer.size());
  const auto* answer = reinterpret_cast<const nlmsghdr*>(buffer.data());
  if (bytes <= 0 || !mnl_nlmsg_ok(answer, static_cast<int>(bytes)) || answer->nlmsg_type == NLMSG_ERROR ||
      mnl_nlmsg_get_payload_len(answer) < sizeof(genlmsghdr)) {
    return std::nullopt;
  }
  struct Wanted {
    std::uint16_t type;
    std::optional<Value> value;
  } wanted{type, std::nullopt};
  const auto take = [](const nlattr* attribute, void* data) {
    auto* into = static_cast<Wanted*>(data);
    Value value{};
    if (mnl_attr_get_type(attribute) == into->type && mnl_attr_get_payload_len(attribute) >= sizeof value) {
      std::memcpy(&value, mnl_attr_get_payload(attribute), sizeof value);
      into->value = value;
    }
    return MNL_CB_OK;
  };
  mnl_attr_parse(answer, sizeof(genlmsghdr), take, &wanted);
  return wanted.value;
}

}  // namespace

std::optional<std::uint64_t> xdp_features(int interface_index) {
  const NetlinkSocket socket(mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC));
  if (!socket || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0) {
    return std::nullopt;
  }
  AnswerBuffer buffer;
  nlmsghdr* message = netlink_request(buffer, GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
  mnl_attr_put_strz(message, CTRL_ATTR_FAMILY_NAME, "netdev");
  const auto family = ask<std::uint16_t>(socket, buffer, message, CTRL_ATTR_FAMILY_ID);
  if (!family) {
    return std::nullopt;
  }
  message = netlink_request(buffer, *family, kDevGet);
  mnl_attr_put_u32(message, kIfindex, static_cast<std::uint32_t>(interface_index));
  return ask<std::uint64_t>(socket, buffer, message, kXdpFeatures);
}

}  // namespace isthmus
