// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Pump and sink of the I/O benchmarks, and the minimal program that an AF_XDP forwarder needs in between.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h> /* these two need the types of linux/bpf.h */
#include <bpf/bpf_helpers.h>

#include "perf/io/traffic.h"

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct pump_template);
} pump_templates SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct sink_counts);
} sinks SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
} bare_sockets SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct frame_samples);
} samples SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct bare_work);
} bare_works SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_DEVMAP);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
} bare_devices SEC(".maps");

static const __u32 only = 0;

#define VXLAN_PORT 8472
#define VXLAN_BYTES 8

static __always_inline void put16(__u8* data, const __u8* end, __u32 at, __u16 value) {
  __u16* to = (__u16*)(data + (at & (PUMP_HEADER_BYTES - 1)));
  if ((const __u8*)(to + 1) <= end) {
    *to = value;
  }
}

/* The multiplier is odd, so that every connection has its turn before one has its second, and large, so that successive
   ones lie far apart. */
static __always_inline void spread(struct pump_template* template, __u8* data, const __u8* end) {
  const __u32 n = (template->next++ * 2654435761u) & template->spread_mask;
  const __u16 port = bpf_htons(template->first_value + (n & ((1u << (template->port_bits & 15)) - 1)));
  const __u16 address = bpf_htons(template->first_address + (n >> (template->port_bits & 15)));
  put16(data, end, template->vary_at, port);
  put16(data, end, template->address_at, address);
  put16(data, end, template->id_at, ~address);
  put16(data, end, template->payload_at, ~port);
  put16(data, end, template->payload_at + 2, ~address);
}

/* Run on live frames: rewrites the whole header (pages are recycled as the forwarder left them) and sends. */
SEC("xdp")
int pump(struct xdp_md* ctx) {
  __u8* data = (__u8*)(long)ctx->data;
  const __u8* end = (const __u8*)(long)ctx->data_end;
  struct pump_template* template = bpf_map_lookup_elem(&pump_templates, &only);
  if (!template) {
    return XDP_DROP;
  }
#pragma unroll
  for (int i = 0; i < PUMP_HEADER_BYTES / 4; ++i) {
    if (data + 4 * i + 4 > end) {
      break;
    }
    *(__u32*)(data + 4 * i) = *(__u32*)(template->header + 4 * i);
  }
  if (template->spread_mask != 0) {
    spread(template, data, end);
  } else if (template->flows > 1) {
    put16(data, end, template->vary_at, bpf_htons(template->first_value + template->next++ % template->flows));
  }
  __u8* stamp = data + (template->stamp_at & (PUMP_HEADER_BYTES - 1));
  if (template->stamp_at != 0 && stamp + STAMP_BYTES <= end) {
    *(__u64*)(stamp + 4) = template->sequence++;
    *(__u64*)(stamp + 12) = bpf_ktime_get_ns();
  }
  return XDP_TX;
}

/* Start of the UDP payload of the frame at `data`, or 0. IPv4 without options, IPv6 without extension headers. */
static __always_inline const __u8* udp_payload(const __u8* data, const __u8* end, __u16* port) {
  const struct ethhdr* ethernet = (const void*)data;
  const struct udphdr* udp = 0;
  if (data + sizeof *ethernet > end) {
    return 0;
  }
  if (ethernet->h_proto == bpf_htons(ETH_P_IP)) {
    const struct iphdr* ip = (const void*)(ethernet + 1);
    udp = (const void*)(ip + 1);
    if ((const __u8*)(udp + 1) > end || ip->protocol != IPPROTO_UDP || ip->ihl != 5) {
      return 0;
    }
  } else if (ethernet->h_proto == bpf_htons(ETH_P_IPV6)) {
    const struct ipv6hdr* ip = (const void*)(ethernet + 1);
    udp = (const void*)(ip + 1);
    if ((const __u8*)(udp + 1) > end || ip->nexthdr != IPPROTO_UDP) {
      return 0;
    }
  } else {
    return 0;
  }
  *port = bpf_ntohs(udp->dest);
  return (const __u8*)(udp + 1);
}

/* The stamp of a frame, plain or in a VXLAN tunnel, or 0. */
static __always_inline const __u8* stamp_of(const __u8* data, const __u8* end) {
  __u16 port = 0;
  const __u8* payload = udp_payload(data, end, &port);
  if (payload && port == VXLAN_PORT) {
    payload = udp_payload(payload + VXLAN_BYTES, end, &port);
  }
  return payload && payload + STAMP_BYTES <= end && *(const __u32*)payload == STAMP_MAGIC ? payload : 0;
}

static __always_inline __u32 latency_bucket(__u64 value) {
  __u32 highest = 0;
#pragma unroll
  for (__u32 step = 32; step > 0; step /= 2) {
    if (value >> highest >> step) {
      highest += step;
    }
  }
  const __u32 fraction = highest >= 3 ? (value >> (highest - 3)) & 7 : (value << (3 - highest)) & 7;
  return (highest * 8 + fraction) & (LATENCY_BUCKETS - 1);
}

static __always_inline void take_sample(const __u8* data, const __u8* end) {
  struct frame_samples* kept = bpf_map_lookup_elem(&samples, &only);
  if (!kept) {
    return;
  }
  const __u32 slot = kept->taken++ & (SAMPLES - 1);
  kept->length[slot] = end - data;
#pragma unroll
  for (int i = 0; i < SAMPLE_BYTES / 2; ++i) {
    if (data + 2 * i + 2 > end) {
      break;
    }
    *(__u16*)(kept->bytes[slot] + 2 * i) = *(const __u16*)(data + 2 * i);
  }
}

/* Counts and drops every frame. */
SEC("xdp")
int sink(struct xdp_md* ctx) {
  struct sink_counts* counts = bpf_map_lookup_elem(&sinks, &only);
  if (!counts) {
    return XDP_DROP;
  }
  if ((++counts->packets & (SAMPLE_EVERY - 1)) == 0) {
    take_sample((const __u8*)(long)ctx->data, (const __u8*)(long)ctx->data_end);
  }
  const __u8* stamp = stamp_of((const __u8*)(long)ctx->data, (const __u8*)(long)ctx->data_end);
  if (stamp) {
    const __u64 sequence = *(const __u64*)(stamp + 4);
    const __u64 sent = *(const __u64*)(stamp + 12);
    const __u64 now = bpf_ktime_get_ns();
    if (counts->stamped == 0 || sequence < counts->first) {
      counts->first = sequence;
    }
    if (counts->stamped == 0 || sequence > counts->last) {
      counts->last = sequence;
    }
    ++counts->stamped;
    ++counts->latency[latency_bucket(now > sent ? now - sent : 0)];
  }
  return XDP_DROP;
}

SEC("xdp")
int bare(struct xdp_md* ctx) { return bpf_redirect_map(&bare_sockets, ctx->rx_queue_index, XDP_DROP); }

static __always_inline void add_difference(__u16* checksum, __u16 delta) {
  __u32 sum = (__u16) ~*checksum + delta;
  sum = (sum & 0xffff) + (sum >> 16);
  *checksum = ~sum;
}

/* The least that a VXLAN gateway does to a frame: the references of a settled flow's way through XDP. Frames are taken
   as the pump makes them, without a look at what they are. `calls`: further helper calls, for what one costs. */
static __always_inline int out(struct xdp_md* ctx, int calls) {
  struct bare_work* work = bpf_map_lookup_elem(&bare_works, &only);
  if (!work || bpf_xdp_adjust_head(ctx, -(BARE_HEADER_BYTES - (int)sizeof(struct ethhdr)))) {
    return XDP_DROP;
  }
  __u8* data = (__u8*)(long)ctx->data;
  struct iphdr* ip = (void*)(data + BARE_HEADER_BYTES);
  struct udphdr* udp = (void*)(ip + 1);
  if ((const void*)(udp + 1) > (const void*)(long)ctx->data_end) {
    return XDP_DROP;
  }
  __builtin_memcpy(data, work->header, BARE_HEADER_BYTES);
  if (work->rewrite) {
    ip->daddr = work->address;
    udp->dest = work->port;
    add_difference(&ip->check, work->ip_delta);
    add_difference(&udp->check, work->l4_delta);
  }
  for (int i = 0; i < calls; ++i) {
    bpf_ktime_get_coarse_ns();
  }
  return bpf_redirect_map(&bare_devices, 0, XDP_DROP);
}

SEC("xdp")
int bare_out(struct xdp_md* ctx) { return out(ctx, 0); }

SEC("xdp")
int bare_out_calls(struct xdp_md* ctx) { return out(ctx, BARE_CALLS); }

SEC("xdp")
int bare_back(struct xdp_md* ctx) {
  struct bare_work* work = bpf_map_lookup_elem(&bare_works, &only);
  if (!work || bpf_xdp_adjust_head(ctx, BARE_HEADER_BYTES - (int)sizeof(struct ethhdr))) {
    return XDP_DROP;
  }
  __u8* data = (__u8*)(long)ctx->data;
  struct iphdr* ip = (void*)(data + sizeof(struct ethhdr));
  struct udphdr* udp = (void*)(ip + 1);
  if ((const void*)(udp + 1) > (const void*)(long)ctx->data_end) {
    return XDP_DROP;
  }
  __builtin_memcpy(data, work->header, sizeof(struct ethhdr));
  --ip->ttl;
  if (work->rewrite) {
    ip->saddr = work->address;
    udp->source = work->port;
    add_difference(&udp->check, work->l4_delta);
  }
  add_difference(&ip->check, work->ip_delta);
  return bpf_redirect_map(&bare_devices, 0, XDP_DROP);
}

/* A veth accepts XDP_TX and redirected frames only if its peer runs a program; kernel forwarding uses this one. */
SEC("xdp")
int to_kernel(struct xdp_md* ctx) { return XDP_PASS; }

char perf_license[] SEC("license") = "Dual BSD/GPL";
