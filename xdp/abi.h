/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the kernel programs and the engine tell each other through BPF maps. Compiled into both; sizes and offsets are
 * asserted in both. Addresses, L4 ports and realms are in network byte order, times are CLOCK_MONOTONIC nanoseconds.
 */
#pragma once

#include <linux/types.h>

#ifndef __cplusplus
#define static_assert _Static_assert
#endif

/* The program and map names by which an engine recognises what an earlier one left on an interface. */
#define ISTHMUS_STEER_PROGRAM "isthmus_steer"
#define ISTHMUS_BEATS_MAP "isthmus_beats"
#define ISTHMUS_CONSTANTS_MAP ".rodata"
#define ISTHMUS_COUNTERS_MAP "isthmus_count"

/*
 * An address of either family with its realm. IPv4 has the first four bytes, zeros behind: an LPM trie then compares
 * realm, family and address at once, at each of its nodes. The family keeps a prefix from covering the other one.
 */
struct isthmus_address {
  __u16 realm;
  __u16 family; /* ISTHMUS_IPV4 or ISTHMUS_IPV6 */
  __u8 bytes[16];
};
static_assert(sizeof(struct isthmus_address) == 20, "hash key without padding");
static_assert(__builtin_offsetof(struct isthmus_address, bytes) == 4, "address after realm and family");

#define ISTHMUS_IPV4 4
#define ISTHMUS_IPV6 6

/* Key of the LPM tries. prefix_length counts from the realm's first bit: ISTHMUS_LPM_FIXED_BITS + 0..32 or 0..128. */
#define ISTHMUS_LPM_FIXED_BITS 32
struct isthmus_lpm_key {
  __u32 prefix_length;
  struct isthmus_address address;
};
static_assert(sizeof(struct isthmus_lpm_key) == 24, "LPM key without padding");
static_assert(__builtin_offsetof(struct isthmus_lpm_key, address) == 4, "LPM data after the length");

#define ISTHMUS_GONE_PASSES 1 /* fleet traffic goes to the kernel while the engine is gone; otherwise it is dropped */

struct isthmus_steer_config {
  __u32 tunnel_address; /* 0: no tunnel packets are taken */
  __u16 tunnel_port;
  __u16 flags;
  __u64 beat_timeout_ns;
};
static_assert(sizeof(struct isthmus_steer_config) == 16, "configuration without padding");
static_assert(__builtin_offsetof(struct isthmus_steer_config, beat_timeout_ns) == 8, "timeout after the tunnel end");

/* Per receive queue, written by the thread that polls it, on a cache line of its own. 0: nobody polls it. */
struct isthmus_beat {
  __u64 nanoseconds;
  __u64 padding[7];
};
static_assert(sizeof(struct isthmus_beat) == 64, "one cache line per queue");

/* Per CPU; an entry for every way a packet can go. */
struct isthmus_steer_counters {
  __u64 passed;          /* to the kernel's stack: not fleet traffic (what the next three count included) */
  __u64 not_a_peer;      /* for our tunnel end, from an address that is no remote peer */
  __u64 tunnel_fragment; /* UDP fragment for our tunnel end */
  __u64 foreign_source;  /* to a fleet destination, from a source that is not this cluster's */
  __u64 taken_tunnel;    /* handed to the engine */
  __u64 taken_plain;
  __u64 gone_dropped; /* fleet traffic while the engine was gone */
  __u64 gone_passed;
};
static_assert(sizeof(struct isthmus_steer_counters) == 64, "eight counters");
static_assert(__builtin_offsetof(struct isthmus_steer_counters, taken_tunnel) == 32, "order of the counters");
