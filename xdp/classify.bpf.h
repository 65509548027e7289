/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Decides which packets of an interface go to the engine; all others pass to the kernel untouched.
 *
 * Taken are tunnel packets to our address and L4 port from a remote peer, what routers say of tunnel packets that were
 * too long, and packets from this cluster's sources to fleet destinations, in frames for this interface's own MAC
 * address. VLAN-tagged, truncated and unknown packets pass.
 * A taken packet is redirected to the engine's socket on its receive queue; while that queue has no recent heartbeat,
 * it is dropped (or passed, if so configured). What the rules say of a pair of addresses is kept, so that most packets
 * cost one look-up instead of two in the tries.
 *
 * 2026-11-28: a frame for any other MAC address is the kernel's, which drops those for other hosts and routes none that
 * was broadcast: where a switch floods, only the gateway that was addressed carries the packet.
 * 2026-11-28: UDP fragments from a remote peer to our tunnel address, all but the first without an L4 port, are the
 * engine's: passed on, the kernel would reassemble them, and an overlay that listens on the same port would take the
 * packet past the gateway's validation.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h> /* these two need the types of linux/bpf.h */
#include <bpf/bpf_helpers.h>

#include "xdp/abi.h"
#include "xdp/maps.h"
#include "xdp/words.bpf.h"

#define FRAGMENT_BITS 0x3fff /* more-fragments flag and fragment offset, RFC 791 section 3.1 */

const volatile struct isthmus_constants isthmus_constants = {};

/* Whether the frame is in one buffer, as isthmus_forward needs it. */
static __always_inline int is_whole(struct xdp_md* ctx) {
  return !isthmus_constants.fragments || bpf_xdp_get_buff_len(ctx) == ctx->data_end - ctx->data;
}

/* Whether the kernel hands the frame to the engine's socket, which has one buffer for it. */
static __always_inline int fits_engine(struct xdp_md* ctx) {
  return !isthmus_constants.fragments || is_whole(ctx) || bpf_xdp_get_buff_len(ctx) <= isthmus_constants.gathered;
}

/* Context of one run, looked up once. */
struct run {
  struct xdp_md* ctx;
  const struct ethhdr* ethernet;
  const struct isthmus_steer_config* config;
  struct isthmus_steer_counters* counters;
};

/* ISTHMUS_QUEUE_ bits of the packet's receive queue. The clock is read where a tick has passed, or the heartbeat is not
   what it was; one that only moves on while the queue is polled changes nothing before the next tick. */
static __always_inline __u32 queue_state(const struct run* run) {
  const __u32 queue = run->ctx->rx_queue_index;
  struct isthmus_heartbeat* heartbeat = bpf_map_lookup_elem(&isthmus_beats, &queue);
  if (!heartbeat) {
    return 0;
  }
  const __u64 last = *(const volatile __u64*)&heartbeat->nanoseconds;
  const __u64 state = *(const volatile __u64*)&heartbeat->state;
  const __u64 tick = bpf_jiffies64();
  if (state >> ISTHMUS_QUEUE_BITS == tick &&
      (state & ISTHMUS_QUEUE_POLLED && !(last & ISTHMUS_NOT_POLLED) ? last >= heartbeat->seen
                                                                    : last == heartbeat->seen)) {
    return state;
  }
  __u32 bits = 0;
  if (last != 0) {
    /* Signed: the heartbeat may be slightly ahead of this CPU's clock. */
    const __s64 age = (__s64)(bpf_ktime_get_ns() - last);
    const int polled = !(last & ISTHMUS_NOT_POLLED) && age < (__s64)run->config->heartbeat_timeout_ns;
    bits |= polled ? ISTHMUS_QUEUE_POLLED : 0;
    bits |= age < (__s64)run->config->orphan_timeout_ns ? ISTHMUS_QUEUE_FORWARDS : 0;
  }
  heartbeat->seen = last;
  *(volatile __u64*)&heartbeat->state = tick << ISTHMUS_QUEUE_BITS | bits;
  return bits;
}

static __always_inline int pass(const struct run* run) {
  run->counters->passed++;
  return XDP_PASS;
}

static __always_inline int for_us(const struct run* run) {
  const __u16* to = (const __u16*)run->ethernet->h_dest;
  const __u16* own = run->config->device_mac;
  return (to[0] == own[0] && to[1] == own[1] && to[2] == own[2]) || run->config->flags & ISTHMUS_ANY_DESTINATION_MAC;
}

static __always_inline int take(const struct run* run, __u64* taken) {
  if (!for_us(run)) {
    run->counters->other_mac++;
    return pass(run);
  }
  const int fallback = run->config->flags & ISTHMUS_ENGINE_DOWN_PASSES ? XDP_PASS : XDP_DROP;
  if (queue_state(run) & ISTHMUS_QUEUE_POLLED &&
      bpf_redirect_map(&isthmus_xsks, run->ctx->rx_queue_index, fallback) == XDP_REDIRECT) {
    if (!fits_engine(run->ctx)) { /* the kernel would drop it, and count it on some versions only */
      run->counters->longer_than_buffer++;
      return XDP_DROP;
    }
    ++*taken;
    return XDP_REDIRECT;
  }
  if (fallback == XDP_PASS) {
    run->counters->engine_down_passed++;
  } else {
    run->counters->engine_down_dropped++;
  }
  return fallback;
}

static __always_inline void set_ipv4(struct isthmus_address* to, __be32 address) {
  to->realm = 0;
  to->family = bpf_htons(ISTHMUS_IPV4);
  __builtin_memcpy(to->bytes, &address, 4);
  __builtin_memset(to->bytes + 4, 0, 12);
}

static __always_inline void set_ipv6(struct isthmus_address* to, const void* address) {
  to->realm = 0;
  to->family = bpf_htons(ISTHMUS_IPV6);
  __builtin_memcpy(to->bytes, address, 16);
}

/* What the rules say of packets from one address to another that are not tunnel packets. */
#define VERDICT_NONE 0
#define VERDICT_PASS 1
#define VERDICT_FOREIGN 2 /* pass: to the fleet, but not from this cluster */
#define VERDICT_TAKE 3
#define VERDICT_BITS 2

/* Source and destination address, as in isthmus_flow_key. IPv4: in the first word, the rest is zero. */
struct pair {
  __u64 word[4];
  __u8 family;
};

/* The place of its verdict, for which pairs compete. */
static __always_inline struct isthmus_verdict* verdict_place(const struct pair* pair) {
  const __u64 odd = 0x9e3779b97f4a7c15ULL, other = 0xd6e8feb86659fd93ULL;
  const __u64 mixed = pair->word[0] * odd + pair->word[1] * other;
  const __u64 sum = mixed ^ mixed >> 32 ^ (pair->word[2] * other + pair->word[3] * odd);
  const __u32 index = sum * odd >> 32 & (ISTHMUS_VERDICTS - 1);
  return bpf_map_lookup_elem(&isthmus_verdicts, &index);
}

/* The stamp of a verdict by the rules of this run. */
static __always_inline __u64 stamp_of(const struct run* run, const struct pair* pair) {
  return (run->config->rules_version << 8) | (__u64)pair->family << VERDICT_BITS;
}

static __always_inline int known_verdict(const struct run* run, const struct pair* pair,
                                         const struct isthmus_verdict* place) {
  const __u64 stamp = place->stamp;
  const __u64 differ = (place->word[0] ^ pair->word[0]) | (place->word[1] ^ pair->word[1]) |
                       (place->word[2] ^ pair->word[2]) | (place->word[3] ^ pair->word[3]) |
                       ((stamp >> VERDICT_BITS) ^ (stamp_of(run, pair) >> VERDICT_BITS));
  return differ == 0 ? stamp & ((1 << VERDICT_BITS) - 1) : VERDICT_NONE;
}

/* From a cluster with native routing to this one: policy is the engine's to decide, as for what comes in a tunnel.
   Not what is for the node itself, which stays a node. */
static __always_inline int is_from_native(const struct run* run, const struct isthmus_lpm_key* destination,
                                          const struct isthmus_lpm_key* source, int to_node) {
  return (run->config->flags & ISTHMUS_HAS_NATIVE) && !to_node && bpf_map_lookup_elem(&isthmus_native, source) &&
         bpf_map_lookup_elem(&isthmus_local, destination);
}

static __always_inline int look_up_verdict(const struct run* run, const struct pair* pair, int to_node) {
  struct isthmus_lpm_key destination = {.prefix_length = ISTHMUS_LPM_FIXED_BITS + 128};
  struct isthmus_lpm_key source = {.prefix_length = ISTHMUS_LPM_FIXED_BITS + 128};
  if (pair->family == ISTHMUS_IPV4) {
    set_ipv4(&source.address, pair->word[0]);
    set_ipv4(&destination.address, pair->word[0] >> 32);
  } else {
    set_ipv6(&source.address, pair->word);
    set_ipv6(&destination.address, pair->word + 2);
  }
  if (!bpf_map_lookup_elem(&isthmus_fleet, &destination)) {
    return is_from_native(run, &destination, &source, to_node) ? VERDICT_TAKE : VERDICT_PASS;
  }
  return bpf_map_lookup_elem(&isthmus_local, &source) ? VERDICT_TAKE : VERDICT_FOREIGN;
}

/* `to_node`: to our tunnel address. */
static __always_inline int plain(const struct run* run, const struct pair* pair, int to_node) {
  struct isthmus_verdict* place = verdict_place(pair);
  int verdict = place ? known_verdict(run, pair, place) : VERDICT_NONE;
  if (verdict == VERDICT_NONE) {
    /* Before the rules are read: if they change meanwhile, the verdict counts as one by those before. */
    const __u64 stamp = stamp_of(run, pair);
    barrier();
    verdict = look_up_verdict(run, pair, to_node);
    if (place) {
      __builtin_memcpy(place->word, pair->word, sizeof place->word);
      place->stamp = stamp | verdict;
    }
  }
  if (verdict == VERDICT_TAKE) {
    return take(run, &run->counters->taken_plain);
  }
  if (verdict == VERDICT_FOREIGN) {
    run->counters->foreign_source++;
  }
  return pass(run);
}

static __always_inline int is_tunnel_port(const struct run* run, __be16 port) {
  return port != 0 && (port == run->config->tunnel_ports[0] || port == run->config->tunnel_ports[1]);
}

static __always_inline int is_tunnel_ipv6(const struct run* run, const struct in6_addr* address) {
  const __u32* ours = (const void*)run->config->tunnel_ipv6;
  const __u32* theirs = address->in6_u.u6_addr32;
  return theirs[0] == ours[0] && theirs[1] == ours[1] && theirs[2] == ours[2] && theirs[3] == ours[3] &&
         (ours[0] | ours[1] | ours[2] | ours[3]) != 0;
}

/* Precondition: an unfragmented UDP packet to our tunnel address and port. */
static __always_inline int tunnel(const struct run* run, const struct isthmus_address* source) {
  if (!bpf_map_lookup_elem(&isthmus_peers, source)) {
    run->counters->not_a_peer++;
    return pass(run);
  }
  return take(run, &run->counters->taken_tunnel);
}

#define ICMP_BYTES 8
#define ICMP_TOO_BIG 0x0403 /* as the first two bytes of the header lie there: unreachable, fragmentation needed */
#define ICMPV6_TOO_BIG 2

/* The quoted UDP header behind an IP header of `bytes`; its destination decides. Precondition: an ICMP error to our
   tunnel address. */
static __always_inline int is_of_tunnel(const struct run* run, const struct udphdr* quoted, const void* end,
                                        const struct isthmus_address* peer) {
  return (const void*)(quoted + 1) <= end && is_tunnel_port(run, quoted->dest) &&
         bpf_map_lookup_elem(&isthmus_peers, peer);
}

/* Whether the ICMP message at `icmp` says that a tunnel packet to a peer was too long. */
static __always_inline int is_tunnel_error(const struct run* run, const void* icmp, const void* end) {
  const struct iphdr* quoted = icmp + ICMP_BYTES;
  if ((const void*)(quoted + 1) > end || load16(icmp) != ICMP_TOO_BIG || quoted->version != 4 || quoted->ihl != 5 ||
      quoted->protocol != IPPROTO_UDP) {
    return 0;
  }
  struct isthmus_address peer;
  set_ipv4(&peer, quoted->daddr);
  return is_of_tunnel(run, (const void*)(quoted + 1), end, &peer);
}

static __always_inline int is_tunnel_error_ipv6(const struct run* run, const void* icmp, const void* end) {
  const struct ipv6hdr* quoted = icmp + ICMP_BYTES;
  if ((const void*)(quoted + 1) > end || *(const __u8*)icmp != ICMPV6_TOO_BIG || quoted->version != 6 ||
      quoted->nexthdr != IPPROTO_UDP) {
    return 0;
  }
  struct isthmus_address peer;
  set_ipv6(&peer, &quoted->daddr);
  return is_of_tunnel(run, (const void*)(quoted + 1), end, &peer);
}

static __always_inline int ipv4(const struct run* run, const struct iphdr* ip, const void* end) {
  if ((const void*)(ip + 1) > end || ip->version != 4 || ip->ihl < 5) {
    return pass(run);
  }
  if (ip->daddr == run->config->tunnel_ipv4 && ip->protocol == IPPROTO_UDP && ip->daddr != 0) {
    const struct udphdr* udp = (const void*)ip + ip->ihl * 4;
    struct isthmus_address peer;
    set_ipv4(&peer, ip->saddr);
    if (ip->frag_off & bpf_htons(FRAGMENT_BITS)) {
      if (bpf_map_lookup_elem(&isthmus_peers, &peer)) {
        return take(run, &run->counters->taken_tunnel);
      }
    } else if ((const void*)(udp + 1) > end) {
      return pass(run);
    } else if (is_tunnel_port(run, udp->dest)) {
      return tunnel(run, &peer);
    }
  }
  if (ip->protocol == IPPROTO_ICMP && ip->daddr == run->config->tunnel_ipv4 && ip->daddr != 0 && ip->ihl == 5 &&
      !(ip->frag_off & bpf_htons(FRAGMENT_BITS)) && is_tunnel_error(run, ip + 1, end)) {
    return take(run, &run->counters->taken_error);
  }
  const struct pair pair = {.word = {load64(&ip->saddr)}, .family = ISTHMUS_IPV4};
  return plain(run, &pair, ip->daddr == run->config->tunnel_ipv4);
}

static __always_inline int ipv6(const struct run* run, const struct ipv6hdr* ip, const void* end) {
  if ((const void*)(ip + 1) > end || ip->version != 6) {
    return pass(run);
  }
  if ((ip->nexthdr == IPPROTO_UDP || ip->nexthdr == IPPROTO_FRAGMENT) && is_tunnel_ipv6(run, &ip->daddr)) {
    const struct udphdr* udp = (const void*)(ip + 1);
    struct isthmus_address peer;
    set_ipv6(&peer, &ip->saddr);
    if ((const void*)(udp + 1) > end) {
      return pass(run);
    }
    if (ip->nexthdr == IPPROTO_FRAGMENT) { /* a header of the same size, which begins with the next one's protocol */
      if (*(const __u8*)udp == IPPROTO_UDP && bpf_map_lookup_elem(&isthmus_peers, &peer)) {
        return take(run, &run->counters->taken_tunnel);
      }
    } else if (is_tunnel_port(run, udp->dest)) {
      return tunnel(run, &peer);
    }
  }
  if (ip->nexthdr == IPPROTO_ICMPV6 && is_tunnel_ipv6(run, &ip->daddr) && is_tunnel_error_ipv6(run, ip + 1, end)) {
    return take(run, &run->counters->taken_error);
  }
  const void* addresses = &ip->saddr;
  const struct pair pair = {
      .word = {load64(addresses), load64(addresses + 8), load64(addresses + 16), load64(addresses + 24)},
      .family = ISTHMUS_IPV6,
  };
  return plain(run, &pair, is_tunnel_ipv6(run, &ip->daddr));
}

/* Decides about a packet that is not forwarded here. */
static __always_inline int classify(struct xdp_md* ctx) {
  const void* end = (const void*)(long)ctx->data_end;
  const struct ethhdr* ethernet = (const void*)(long)ctx->data;
  const __u32 only = 0;
  const struct run run = {
      .ctx = ctx,
      .ethernet = ethernet,
      .config = bpf_map_lookup_elem(&isthmus_config, &only),
      .counters = bpf_map_lookup_elem(&isthmus_count, &only),
  };

  if (!run.config || !run.counters) {
    return XDP_PASS; /* cannot happen: both are arrays of one entry */
  }
  if ((const void*)(ethernet + 1) > end) {
    return pass(&run);
  }
  switch (ethernet->h_proto) {
    case bpf_htons(ETH_P_IP):
      return ipv4(&run, (const void*)(ethernet + 1), end);
    case bpf_htons(ETH_P_IPV6):
      return ipv6(&run, (const void*)(ethernet + 1), end);
    default:
      return pass(&run);
  }
}
