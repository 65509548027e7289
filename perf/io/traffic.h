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
  /* Connections in scattered order; 0: one after the other, as above. Connection n has L4 port first_value + the lowest
     port_bits of n, and the rest is added to first_address. Their complements go where checksums are kept right: that
     of the address to id_at (the IP header's), both to payload_at (the L4 header's). */
  __u32 spread_mask; /* number of connections - 1; they are a power of two */
  __u32 port_bits;
  __u32 address_at; /* offset of the address's low half */
  __u32 first_address;
  __u32 id_at;
  __u32 payload_at; /* four bytes */
  __u64 sequence;   /* of the next stamp; written by the pump */
};

/* Copies of every 1024th frame at the sink, the latest ones. */
#define SAMPLES 64
#define SAMPLE_EVERY 1024 /* a power of two */
#define SAMPLE_BYTES 192
struct frame_samples {
  __u32 taken;
  __u32 length[SAMPLES]; /* of the frame */
  __u8 bytes[SAMPLES][SAMPLE_BYTES];
};

/* What "bare_out" and "bare_back" do to every frame. */
#define BARE_HEADER_BYTES 64
#define BARE_CALLS 16 /* further helper calls of "bare_out_calls" */
struct bare_work {
  __u8 header[BARE_HEADER_BYTES]; /* Ethernet to inner Ethernet; "bare_back" uses the first 14 bytes */
  __u32 rewrite;                  /* 1: address, L4 port and checksums of the inner packet, too */
  __be32 address;                 /* of the other cluster's side */
  __be16 port;
  __u16 ip_delta, l4_delta; /* one's complement differences that the rewriting makes */
  __u16 padding;
};

/* What the sink has counted on one CPU. */
struct sink_counts {
  __u64 packets;
  __u64 stamped;
  __u64 first, last; /* lowest and highest sequence; valid if `stamped` is not 0 */
  __u64 latency[LATENCY_BUCKETS];
};
