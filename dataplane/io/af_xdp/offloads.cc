#include "dataplane/io/af_xdp/offloads.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <string_view>

#include "dataplane/io/unique_fd.h"

namespace isthmus {
namespace {

constexpr std::array<std::string_view, 3> kAlways = {"rx-vlan-hw-parse", "rx-vlan-stag-hw-parse", "rx-lro"};
constexpr std::array<std::string_view, 4> kGeneric = {"rx-gro", "rx-gro-hw", "rx-gro-list", "rx-udp-gro-forwarding"};
constexpr std::uint32_t kBlockBits = 32;

// The ethtool ioctl's structures end in arrays: each is built in a buffer of words.
using Buffer = std::vector<std::uint32_t>;
template <typename Header>
Buffer buffer_for(std::size_t array_bytes) {
  return Buffer((sizeof(Header) + array_bytes + sizeof(std::uint32_t) - 1) / sizeof(std::uint32_t));
}
template <typename Header>
Header* as(Buffer& buffer) {
  return reinterpret_cast<Header*>(buffer.data());
}

class Features {
 public:
  explicit Features(const std::string& interface)
      : interface_(interface), socket_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {}

  // The names of all features, by number.
  [[nodiscard]] Status read_names();
  // Those of `wanted` that are enabled.
  [[nodiscard]] Result<std::vector<std::uint32_t>> enabled(const std::vector<std::string_view>& wanted);
  // Asks for them to be disabled; what the driver does is seen by asking again.
  void disable(const std::vector<std::uint32_t>& features);
  [[nodiscard]] const std::string& name(std::uint32_t feature) const { return names_[feature]; }

 private:
  [[nodiscard]] bool call(Buffer& command);
  [[nodiscard]] Error failure(const char* what) const {
    return {std::string(what) + ": " + std::strerror(errno), interface_,
            "see `ethtool -k " + interface_ + "`; CAP_NET_ADMIN is needed"};
  }

  std::string interface_;
  UniqueFd socket_;
  std::vector<std::string> names_;
};

bool Features::call(Buffer& command) {
  ifreq request{};
  if (interface_.size() >= sizeof request.ifr_name) {
    errno = ENODEV;
    return false;
  }
  std::memcpy(request.ifr_name, interface_.data(), interface_.size());
  request.ifr_data = reinterpret_cast<char*>(command.data());
  return ioctl(socket_.get(), SIOCETHTOOL, &request) >= 0;
}

Status Features::read_names() {
  Buffer sizes = buffer_for<ethtool_sset_info>(sizeof(std::uint32_t));
  as<ethtool_sset_info>(sizes)->cmd = ETHTOOL_GSSET_INFO;
  as<ethtool_sset_info>(sizes)->sset_mask = 1ULL << ETH_SS_FEATURES;
  if (!call(sizes) || as<ethtool_sset_info>(sizes)->sset_mask == 0) {
    return failure("cannot read the number of its offloads");
  }
  const std::uint32_t count = as<ethtool_sset_info>(sizes)->data[0];
  Buffer strings = buffer_for<ethtool_gstrings>(std::size_t{count} * ETH_GSTRING_LEN);
  as<ethtool_gstrings>(strings)->cmd = ETHTOOL_GSTRINGS;
  as<ethtool_gstrings>(strings)->string_set = ETH_SS_FEATURES;
  as<ethtool_gstrings>(strings)->len = count;
  if (!call(strings)) {
    return failure("cannot read the names of its offloads");
  }
  names_.clear();
  const auto* text = reinterpret_cast<const char*>(as<ethtool_gstrings>(strings)->data);
  for (std::uint32_t i = 0; i < as<ethtool_gstrings>(strings)->len; ++i, text += ETH_GSTRING_LEN) {
    names_.emplace_back(text, strnlen(text, ETH_GSTRING_LEN));
  }
  return Ok{};
}

Result<std::vector<std::uint32_t>> Features::enabled(const std::vector<std::string_view>& wanted) {
  const std::size_t blocks = (names_.size() + kBlockBits - 1) / kBlockBits;
  Buffer state = buffer_for<ethtool_gfeatures>(blocks * sizeof(ethtool_get_features_block));
  as<ethtool_gfeatures>(state)->cmd = ETHTOOL_GFEATURES;
  as<ethtool_gfeatures>(state)->size = static_cast<std::uint32_t>(blocks);
  if (!call(state)) {
    return failure("cannot read its offloads");
  }
  std::vector<std::uint32_t> found;
  for (std::uint32_t i = 0; i < names_.size(); ++i) {
    const bool active = (as<ethtool_gfeatures>(state)->features[i / kBlockBits].active >> (i % kBlockBits) & 1) != 0;
    if (active && std::find(wanted.begin(), wanted.end(), names_[i]) != wanted.end()) {
      found.push_back(i);
    }
  }
  return found;
}

void Features::disable(const std::vector<std::uint32_t>& features) {
  const std::size_t blocks = (names_.size() + kBlockBits - 1) / kBlockBits;
  for (const std::uint32_t feature : features) {  // one at a time: a refused one must not keep the others
    Buffer change = buffer_for<ethtool_sfeatures>(blocks * sizeof(ethtool_set_features_block));
    as<ethtool_sfeatures>(change)->cmd = ETHTOOL_SFEATURES;
    as<ethtool_sfeatures>(change)->size = static_cast<std::uint32_t>(blocks);
    as<ethtool_sfeatures>(change)->features[feature / kBlockBits].valid = 1U << (feature % kBlockBits);
    static_cast<void>(call(change));
  }
}

std::vector<std::string_view> unwanted_offloads(bool generic) {
  std::vector<std::string_view> unwanted(kAlways.begin(), kAlways.end());
  if (generic) {
    unwanted.insert(unwanted.end(), kGeneric.begin(), kGeneric.end());
  }
  return unwanted;
}

}  // namespace

Result<std::vector<std::string>> enabled_receive_offloads(const std::string& interface, bool generic) {
  Features features(interface);
  if (Status read = features.read_names(); !read) {
    return read.error();
  }
  const auto enabled = features.enabled(unwanted_offloads(generic));
  if (!enabled) {
    return enabled.error();
  }
  std::vector<std::string> names;
  std::transform(enabled->begin(), enabled->end(), std::back_inserter(names),
                 [&](std::uint32_t feature) { return features.name(feature); });
  return names;
}

Result<ReceiveOffloads> disable_receive_offloads(const std::string& interface, bool generic) {
  const std::vector<std::string_view> unwanted = unwanted_offloads(generic);
  Features features(interface);
  if (Status read = features.read_names(); !read) {
    return read.error();
  }
  const auto before = features.enabled(unwanted);
  if (!before) {
    return before.error();
  }
  ReceiveOffloads result;
  if (before->empty()) {
    return result;
  }
  features.disable(*before);
  const auto after = features.enabled(unwanted);
  if (!after) {
    return after.error();
  }
  for (const std::uint32_t feature : *before) {
    const bool stays = std::find(after->begin(), after->end(), feature) != after->end();
    (stays ? result.fixed : result.disabled).push_back(features.name(feature));
  }
  return result;
}

}  // namespace isthmus
