// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The two ends of the I/O benchmarks, and the least program that an AF_XDP forwarder needs in between.
 */
#include <linux/bpf.h>

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
  __type(value, __u64);
} sink_packets SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
} bare_sockets SEC(".maps");

static const __u32 only = 0;

/* Run on live frames: writes the whole header anew (pages come back as the forwarder left them) and sends. */
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
  __u16* varied = (__u16*)(data + (template->vary_at & (PUMP_HEADER_BYTES - 1)));
  if (template->flows > 1 && (const __u8*)(varied + 1) <= end) {
    *varied = bpf_htons(template->first_value + template->next++ % template->flows);
  }
  return XDP_TX;
}

/* Where everything ends: counted and dropped. */
SEC("xdp")
int sink(struct xdp_md* ctx) {
  __u64* packets = bpf_map_lookup_elem(&sink_packets, &only);
  if (packets) {
    ++*packets;
  }
  return XDP_DROP;
}

SEC("xdp")
int bare(struct xdp_md* ctx) { return bpf_redirect_map(&bare_sockets, ctx->rx_queue_index, XDP_DROP); }

/* A veth takes redirected frames only where a program runs; the kernel's own forwarding gets this one. */
SEC("xdp")
int to_kernel(struct xdp_md* ctx) { return XDP_PASS; }

char perf_license[] SEC("license") = "Dual BSD/GPL";
