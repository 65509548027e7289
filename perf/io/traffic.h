/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Shared by perf/io/traffic.bpf.c and its loader. Host byte order except the header. */
#pragma once

#include <linux/types.h>

#define PUMP_HEADER_BYTES 128
/* A stamp: magic number, then sequence number and time (CLOCK_MONOTONIC, nanoseconds), eight bytes each. */
#define STAMP_MAGIC 0x49535448 /* "ISTH" */
#define STAMP_BYTES 20
/* Log-linear latency buckets: the power of two times 8, plus the three bits below the highest one. */
#define LATENCY_BUCKETS 512

struct pump_template {
  __u8 header[PUMP_HEADER_BYTES]; /* the frame's first bytes, as on the wire */
  __u32 vary_at;                  /* offset of the 16-bit field that differs between flows (an L4 port) */
  __u32 flows;
  __u32 first_value;
  __u32 next;     /* flow of the next frame; written by the pump */
  __u32 stamp_at; /* offset of the stamp to update in every frame; 0: none */
  __u64 sequence; /* of the next stamp; written by the pump */
};

/* What the sink has counted on one CPU. */
struct sink_counts {
  __u64 packets;
  __u64 stamped;
  __u64 first, last; /* lowest and highest sequence; valid if `stamped` is not 0 */
  __u64 latency[LATENCY_BUCKETS];
};
