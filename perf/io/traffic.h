/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Shared by perf/io/traffic.bpf.c and its loader. Host byte order but for the header. */
#pragma once

#include <linux/types.h>

#define PUMP_HEADER_BYTES 128
/* A stamp: magic number, then sequence and time (CLOCK_MONOTONIC, nanoseconds) of eight bytes each. */
#define STAMP_MAGIC 0x49535448 /* "ISTH" */
#define STAMP_BYTES 20
/* Latency buckets: a power of two, and the three bits behind its highest one. */
#define LATENCY_BUCKETS 512

struct pump_template {
  __u8 header[PUMP_HEADER_BYTES]; /* the frame's first bytes, as on the wire */
  __u32 vary_at;                  /* offset of the 16 bits that tell flows apart (an L4 port) */
  __u32 flows;
  __u32 first_value;
  __u32 next;     /* the pump's own */
  __u32 stamp_at; /* offset of the stamp, whose number and time are written anew; 0: none */
  __u64 sequence; /* of the next stamp; the pump's own */
};

/* What one CPU's sink has seen. */
struct sink_counts {
  __u64 packets;
  __u64 stamped;
  __u64 first, last; /* lowest and highest sequence, where `stamped` is not 0 */
  __u64 latency[LATENCY_BUCKETS];
};
