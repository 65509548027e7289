#include "dataplane/api/maglev.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/tables/maglev_hash.h"

namespace isthmus {
namespace {

constexpr std::size_t kMaxBackends = 65535;
constexpr std::uint16_t kFree = 0xffff;  // never an index: there are at most 65,535 backends

const char* protocol_text(IpProtocol protocol) {
  switch (protocol) {
    case IpProtocol::kTcp:
      return "TCP";
    case IpProtocol::kUdp:
      return "UDP";
    case IpProtocol::kSctp:
      return "SCTP";
    default:
      return "ANY";
  }
}

constexpr std::uint64_t murmur_mix(std::uint64_t k) noexcept {
  k ^= k >> 33;
  k *= 0xff51afd7ed558ccdULL;
  k ^= k >> 33;
  k *= 0xc4ceb9fe1a85ec53ULL;
  k ^= k >> 33;
  return k;
}

constexpr std::uint64_t kMurmurC1 = 0x87c37b91114253d5ULL;
constexpr std::uint64_t kMurmurC2 = 0x4cf5ad432745937fULL;

constexpr std::uint64_t scramble1(std::uint64_t k) noexcept { return std::rotl(k * kMurmurC1, 31) * kMurmurC2; }
constexpr std::uint64_t scramble2(std::uint64_t k) noexcept { return std::rotl(k * kMurmurC2, 33) * kMurmurC1; }

// Little-endian load of up to 8 bytes.
std::uint64_t load_le(const char* data, std::size_t bytes) noexcept {
  std::uint64_t v = 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    v |= std::uint64_t{static_cast<unsigned char>(data[i])} << (8 * i);
  }
  return v;
}

// One backend's position in its permutation of the slots, and its weighted turn.
struct Walker {
  std::uint16_t index;  // into the caller's backends
  std::uint32_t weight;
  double due;  // Cilium's weight counter: the backend takes a turn once (n + 1) * weight has reached it
  std::uint32_t slot, skip;
};

std::vector<Walker> make_walkers(std::span<const MaglevBackend> backends, std::uint32_t slots) {
  std::vector<std::pair<std::string, std::uint16_t>> order;
  for (std::size_t i = 0; i < backends.size() && i < kMaxBackends; ++i) {
    if (backends[i].weight != 0) {
      order.emplace_back(maglev_backend_text(backends[i]), static_cast<std::uint16_t>(i));
    }
  }
  std::sort(order.begin(), order.end());
  std::vector<Walker> walkers;
  walkers.reserve(order.size());
  for (const auto& [text, index] : order) {
    const auto [h1, h2] = murmur3_128(text, kMaglevRingSeed);
    const std::uint32_t weight = backends[index].weight;
    walkers.push_back({index, weight, static_cast<double>(weight) / static_cast<double>(order.size()),
                       static_cast<std::uint32_t>(h1 % slots), static_cast<std::uint32_t>(h2 % (slots - 1) + 1)});
  }
  return walkers;
}

}  // namespace

std::pair<std::uint64_t, std::uint64_t> murmur3_128(std::string_view data, std::uint32_t seed) noexcept {
  std::uint64_t h1 = seed, h2 = seed;
  const char* p = data.data();
  std::size_t left = data.size();
  for (; left >= 16; p += 16, left -= 16) {
    h1 ^= scramble1(load_le(p, 8));
    h1 = (std::rotl(h1, 27) + h2) * 5 + 0x52dce729;
    h2 ^= scramble2(load_le(p + 8, 8));
    h2 = (std::rotl(h2, 31) + h1) * 5 + 0x38495ab5;
  }
  if (left > 8) {
    h2 ^= scramble2(load_le(p + 8, left - 8));
  }
  h1 ^= scramble1(load_le(p, std::min<std::size_t>(left, 8)));
  h1 ^= data.size();
  h2 ^= data.size();
  h1 += h2;
  h2 += h1;
  h1 = murmur_mix(h1);
  h2 = murmur_mix(h2);
  h1 += h2;
  h2 += h1;
  return {h1, h2};
}

std::string maglev_backend_text(const MaglevBackend& backend) {
  const std::string address = backend.address.to_string();
  std::string text = "[";
  text += backend.address.is_ipv4() ? address : "[" + address + "]";
  text += ":" + std::to_string(backend.port.value()) + "/" + protocol_text(backend.protocol) + ",State:active]";
  return text;
}

MaglevRing maglev_ring(std::span<const MaglevBackend> backends, std::uint32_t slots) {
  if (slots < 2) {
    return {};
  }
  std::vector<Walker> walkers = make_walkers(backends, slots);
  if (walkers.empty()) {
    return {};
  }
  const std::uint64_t weight_sum = std::accumulate(walkers.begin(), walkers.end(), std::uint64_t{0},
                                                   [](std::uint64_t sum, const Walker& w) { return sum + w.weight; });
  const bool weighted = weight_sum / walkers.size() > 1;
  MaglevRing ring(slots, kFree);
  for (std::uint32_t n = 0; n < slots; ++n) {
    std::size_t turn = n % walkers.size();
    if (weighted) {
      while ((std::uint64_t{n} + 1) * walkers[turn].weight < static_cast<std::uint64_t>(walkers[turn].due)) {
        turn = (turn + 1) % walkers.size();
      }
      walkers[turn].due += static_cast<double>(weight_sum);
    }
    Walker& w = walkers[turn];
    while (ring[w.slot] != kFree) {
      w.slot += w.skip;
      w.slot -= w.slot >= slots ? slots : 0;
    }
    ring[w.slot] = w.index;
  }
  return ring;
}

}  // namespace isthmus
