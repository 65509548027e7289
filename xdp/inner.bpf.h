/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Reading of the plain packets that are forwarded here, as dataplane/packet/parse.h does: IPv4 without options or
 * fragments, or IPv6 without extension headers; TCP that neither opens nor closes, or UDP; all lengths valid. And the
 * one's complement sum of such a packet, as in dataplane/encap/inner_sum.h.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h> /* these two need the types of linux/bpf.h */
#include <bpf/bpf_helpers.h>

#include "xdp/abi.h"
#include "xdp/words.bpf.h"

/* Keeps the compiler from computing the same packet address in two registers: the verifier would know the bounds of
   one only. */
#define ONE_ADDRESS(pointer) asm volatile("" : "+r"(pointer))

static_assert(__builtin_offsetof(struct isthmus_flow_key, source_port) == 8 &&
                  __builtin_offsetof(struct isthmus_flow_key, protocol) == 12 &&
                  __builtin_offsetof(struct isthmus_flow_key, family) == 13 &&
                  __builtin_offsetof(struct isthmus_flow_key, realm) == 14,
              "one word: protocol at bit 32, family at 40, realm at 48");

struct inner {
  struct isthmus_flow_key key;
  __u32 bytes;  /* of the IP packet */
  __u8 ecn;     /* of the IP header */
  __u8 hops;    /* TTL or hop limit */
  __u8 covered; /* a checksum covers the whole L4 packet: inner_sum() is known without reading it */
};

/* Ethernet type, version, and for IPv4 the header length, as the first four bytes behind the MAC addresses. */
#define PLAIN_IPV4 0x00450008u
#define PLAIN_IPV4_MASK 0x00ffffffu
#define PLAIN_IPV6 0x0060dd86u
#define PLAIN_IPV6_MASK 0x00f0ffffu

#define IPV4_BYTES 20
#define IPV6_BYTES 40
#define UDP_BYTES 8
#define TCP_BYTES 20
#define TCP_FLAGS_AT 13
#define TCP_OPENS_OR_CLOSES 7 /* FIN, SYN, RST */

/* `bytes`: of the L4 header and what follows, in the IP packet; `end`: of what may be read. Ports to realm are written
   as one word: a load that spans several recent stores, as in the hash of the key, stalls. */
static __always_inline int read_l4(const void* l4, const void* end, __u32 bytes, __u8 protocol, __u64 space,
                                   struct inner* into) {
  if (l4 + UDP_BYTES > end) {
    return 0;
  }
  if (protocol == IPPROTO_TCP) {
    const __u8* tcp = l4;
    if (l4 + TCP_BYTES > end) {
      return 0;
    }
    const __u32 header = (tcp[TCP_FLAGS_AT - 1] >> 2) & 0x3cu;
    if ((tcp[TCP_FLAGS_AT] & TCP_OPENS_OR_CLOSES) || bytes < TCP_BYTES || header < TCP_BYTES || header > bytes) {
      return 0;
    }
    into->covered = 1;
  } else if (protocol == IPPROTO_UDP) {
    const struct udphdr* udp = l4;
    const __u32 length = bpf_ntohs(udp->len);
    if (length < UDP_BYTES || length > bytes) {
      return 0;
    }
    into->covered = udp->check != 0 && length == bytes;
  } else {
    return 0;
  }
  store64(&into->key.source_port, load32(l4) | (__u64)protocol << 32 | space);
  return 1;
}

/* False for what is not plain. `available`: bytes from `ethernet` to where the packet must have ended, at least those
   of an Ethernet header. */
static __always_inline int read_inner(const void* ethernet, const void* end, __u32 available, __u16 realm,
                                      struct inner* into) {
  const void* ip = ethernet + ETH_HLEN;
  if (ip + IPV4_BYTES + UDP_BYTES > end) {
    return 0;
  }
  const __u32 start = load32(ip - 2);
  const __u64 space = (__u64)realm << 48;
  if ((start & PLAIN_IPV4_MASK) == PLAIN_IPV4) {
    const struct iphdr* header = ip;
    into->bytes = bpf_ntohs(header->tot_len);
    if ((header->frag_off & bpf_htons(0x3fff)) || into->bytes < IPV4_BYTES + UDP_BYTES ||
        into->bytes > available - ETH_HLEN) {
      return 0;
    }
    into->key.head = load64(&header->saddr);
    into->key.tail[0] = into->key.tail[1] = into->key.tail[2] = 0;
    into->ecn = header->tos & 3;
    into->hops = header->ttl;
    return read_l4(ip + IPV4_BYTES, end, into->bytes - IPV4_BYTES, header->protocol, space | (__u64)ISTHMUS_IPV4 << 40,
                   into);
  }
  if ((start & PLAIN_IPV6_MASK) == PLAIN_IPV6) {
    const struct ipv6hdr* header = ip;
    if (ip + IPV6_BYTES + UDP_BYTES > end) {
      return 0;
    }
    into->bytes = IPV6_BYTES + bpf_ntohs(header->payload_len);
    if (into->bytes > available - ETH_HLEN) {
      return 0;
    }
    into->key.head = load64(&header->saddr);
    into->key.tail[0] = load64((const void*)&header->saddr + 8);
    into->key.tail[1] = load64(&header->daddr);
    into->key.tail[2] = load64((const void*)&header->daddr + 8);
    into->ecn = start >> 28 & 3;
    into->hops = header->hop_limit;
    return read_l4(ip + IPV6_BYTES, end, into->bytes - IPV6_BYTES, header->nexthdr, space | (__u64)ISTHMUS_IPV6 << 40,
                   into);
  }
  return 0;
}

static __always_inline __u16 fold(__u64 sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

/* Applies a difference to a checksum field (RFC 1624, equation 3). */
static __always_inline __u16 apply_difference(__u16 field, __u16 delta) {
  __u32 sum = (__u32)(__u16)~field + delta;
  sum += sum >> 16;
  return ~sum;
}

/* Of `words` 32-bit words, not folded. */
static __always_inline __u64 sum_of(const void* at, __u32 words, __u64 sum) {
#pragma unroll
  for (__u32 i = 0; i < words; i++) {
    sum += load32(at + 4 * i);
  }
  return sum;
}

/* Precondition: `of->covered`, and the IP header is readable. */
static __always_inline __u64 inner_sum(const void* ip, const struct inner* of) {
  const __u16 protocol = bpf_htons(of->key.protocol);
  if (of->key.family == ISTHMUS_IPV4) {
    return (__u64)(__u32)~load32(ip + 12) + (__u32)~load32(ip + 16) + (__u16)~protocol +
           (__u16)~bpf_htons(of->bytes - IPV4_BYTES);
  }
  return (__u64)load32(ip) + load16(ip + 6) + (__u16)~protocol;
}
