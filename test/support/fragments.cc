#include "test/support/fragments.h"

#include <algorithm>

namespace isthmus::test {
namespace {

constexpr std::size_t kIpv4 = 20, kIpv6 = 40, kFragment = 8, kEthernet = 14;
constexpr std::uint8_t kNextIsFragment = 44;

unsigned get16(const FrameBytes& b, std::size_t at) { return static_cast<unsigned>(b[at] << 8 | b[at + 1]); }
void set16(FrameBytes& b, std::size_t at, std::size_t v) {
  b[at] = static_cast<std::uint8_t>(v >> 8);
  b[at + 1] = static_cast<std::uint8_t>(v);
}

bool is_ipv4(const FrameBytes& ip) { return ip[0] >> 4 == 4; }

void set_ipv4_checksum(FrameBytes& ip) {
  set16(ip, 10, 0);
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < kIpv4; i += 2) {
    sum += get16(ip, i);
  }
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  set16(ip, 10, ~sum & 0xffff);
}

// Where in its datagram a fragment lies, and what all fragments have alike.
struct Piece {
  std::size_t offset = 0;
  bool more = false;
  FrameBytes same, payload;
};

Piece piece_of(const FrameBytes& ip) {
  Piece piece;
  if (is_ipv4(ip)) {
    piece.offset = (get16(ip, 6) & 0x1fff) * 8u;
    piece.more = (ip[6] & 0x20) != 0;
    piece.same = {ip[4], ip[5], ip[9]};
    piece.same.insert(piece.same.end(), ip.begin() + 12, ip.begin() + kIpv4);
    piece.payload.assign(ip.begin() + kIpv4, ip.begin() + get16(ip, 2));
  } else {
    piece.offset = get16(ip, kIpv6 + 2) & 0xfff8u;
    piece.more = (ip[kIpv6 + 3] & 1) != 0;
    piece.same.assign(ip.begin() + 8, ip.begin() + kIpv6);
    piece.same.insert(piece.same.end(), ip.begin() + kIpv6 + 4, ip.begin() + kIpv6 + kFragment);
    piece.payload.assign(ip.begin() + kIpv6 + kFragment, ip.begin() + kIpv6 + get16(ip, 4));
  }
  return piece;
}

}  // namespace

FrameBytes part_of(const FrameBytes& ip, std::size_t offset, std::size_t bytes, bool more, std::uint32_t id) {
  const bool v4 = is_ipv4(ip);
  const std::size_t header = v4 ? kIpv4 : kIpv6;
  FrameBytes out(ip.begin(), ip.begin() + static_cast<std::ptrdiff_t>(header));
  if (v4) {
    set16(out, 2, kIpv4 + bytes);
    set16(out, 6, offset / 8 | (more ? 0x2000u : 0u));
    set_ipv4_checksum(out);
  } else {
    const std::uint8_t protocol = out[6];
    out[6] = kNextIsFragment;
    set16(out, 4, kFragment + bytes);
    out.insert(out.end(), {protocol, 0, 0, 0, 0, 0, 0, 0});
    set16(out, kIpv6 + 2, offset | (more ? 1u : 0u));
    set16(out, kIpv6 + 4, id >> 16);
    set16(out, kIpv6 + 6, id & 0xffff);
  }
  const auto start = ip.begin() + static_cast<std::ptrdiff_t>(std::min(header + offset, ip.size()));
  const auto there = std::min<std::size_t>(bytes, static_cast<std::size_t>(ip.end() - start));
  out.insert(out.end(), start, start + static_cast<std::ptrdiff_t>(there));
  out.resize(out.size() + bytes - there, 0x5a);
  return out;
}

std::vector<FrameBytes> split(const FrameBytes& ip, std::size_t mtu, std::uint32_t id) {
  const std::size_t header = is_ipv4(ip) ? kIpv4 : kIpv6, total = ip.size() - header;
  const std::size_t most = (mtu - (is_ipv4(ip) ? kIpv4 : kIpv6 + kFragment)) / 8 * 8;
  std::vector<FrameBytes> out;
  for (std::size_t offset = 0; offset < total; offset += most) {
    const bool more = offset + most < total;
    out.push_back(part_of(ip, offset, more ? most : total - offset, more, id));
  }
  return out;
}

FrameBytes framed(const FrameBytes& ip) {
  FrameBytes out{0x02, 0, 0, 0, 0, 0x02, 0x02, 0, 0, 0, 0, 0x01};
  out.insert(out.end(), {static_cast<std::uint8_t>(is_ipv4(ip) ? 0x08 : 0x86),
                         static_cast<std::uint8_t>(is_ipv4(ip) ? 0x00 : 0xdd)});
  out.insert(out.end(), ip.begin(), ip.end());
  return out;
}

FrameBytes inner_ip(const FrameBytes& frame) {
  constexpr std::size_t kTunnel = 8 + 8 + kEthernet;
  const std::size_t outer = frame[12] == 0x08 ? kIpv4 : kIpv6;
  const std::size_t start = kEthernet + (dissect(frame).tunnelled ? outer + kTunnel : 0);
  FrameBytes ip(frame.begin() + static_cast<std::ptrdiff_t>(start), frame.end());
  ip.resize(is_ipv4(ip) ? get16(ip, 2) : kIpv6 + get16(ip, 4));  // without Ethernet's padding
  return ip;
}

Dissected joined(std::vector<FrameBytes> fragments) {
  std::sort(fragments.begin(), fragments.end(),
            [](const FrameBytes& a, const FrameBytes& b) { return piece_of(a).offset < piece_of(b).offset; });
  Dissected failed;
  if (fragments.empty() || piece_of(fragments.back()).more) {
    failed.errors.push_back("no last fragment");
    return failed;
  }
  const FrameBytes& first = fragments.front();
  const std::size_t header = is_ipv4(first) ? kIpv4 : kIpv6;
  FrameBytes whole(first.begin(), first.begin() + static_cast<std::ptrdiff_t>(header));
  for (const FrameBytes& fragment : fragments) {
    const Piece piece = piece_of(fragment);
    if (piece.offset + header != whole.size() || piece.same != piece_of(first).same) {
      failed.errors.push_back("fragments that do not fit each other");
      return failed;
    }
    whole.insert(whole.end(), piece.payload.begin(), piece.payload.end());
  }
  if (is_ipv4(first)) {
    set16(whole, 2, whole.size());
    set16(whole, 6, 0);
    set_ipv4_checksum(whole);
  } else {
    whole[6] = first[kIpv6];
    set16(whole, 4, whole.size() - kIpv6);
  }
  return dissect(framed(whole));
}

}  // namespace isthmus::test
