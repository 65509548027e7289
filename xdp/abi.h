/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The data that the kernel programs and the engine exchange through BPF maps. Compiled into both; sizes and offsets are
 * asserted in both. Addresses, L4 ports and realms are in network byte order, times are CLOCK_MONOTONIC nanoseconds.
 */
#pragma once

#include <linux/types.h>

#ifndef __cplusplus
#define static_assert _Static_assert
#endif

/*
 * The program and map names by which an engine recognises the program of another engine on an interface. The kernel
 * keeps only 15 characters of a name. The heartbeat map keeps its name across versions, so that an engine of an earlier
 * version is recognised as running.
 */
#define ISTHMUS_STEER_PROGRAM "isthmus_steer"
#define ISTHMUS_HEARTBEATS_MAP "isthmus_beats"
#define ISTHMUS_CONSTANTS_MAP ".rodata"
#define ISTHMUS_COUNTERS_MAP "isthmus_count"
static_assert(sizeof(ISTHMUS_STEER_PROGRAM) <= 16 && sizeof(ISTHMUS_HEARTBEATS_MAP) <= 16 &&
                  sizeof(ISTHMUS_COUNTERS_MAP) <= 16,
              "BPF_OBJ_NAME_LEN, the terminating zero included");

/*
 * An address of either family with its realm. IPv4 uses the first four bytes, the rest is zero: an LPM trie then
 * compares realm, family and address in one go at each node. The family keeps a prefix of one family from covering
 * addresses of the other.
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

#define ISTHMUS_ENGINE_DOWN_PASSES \
  1 /* while the engine is down, fleet traffic goes to the kernel; else it is dropped */
#define ISTHMUS_ANY_DESTINATION_MAC 2 /* a point-to-point link: every frame is for us */
#define ISTHMUS_HAS_NATIVE 4          /* isthmus_native is not empty */

#define ISTHMUS_TUNNEL_PORTS 2 /* one for each kind of tunnel */

/* Where tunnel packets are taken: at either address and any of the ports. 0: none. */
struct isthmus_steer_config {
  __u8 tunnel_ipv6[16];
  __u32 tunnel_ipv4;
  __u16 tunnel_ports[ISTHMUS_TUNNEL_PORTS];
  __u64 heartbeat_timeout_ns;
  __u64 flags;
  __u16 device_mac[3]; /* the interface's own address, in wire order */
  __u16 padding;
};
static_assert(sizeof(struct isthmus_steer_config) == 48, "configuration without padding");
static_assert(__builtin_offsetof(struct isthmus_steer_config, tunnel_ipv4) == 16, "after the IPv6 address");
static_assert(__builtin_offsetof(struct isthmus_steer_config, heartbeat_timeout_ns) == 24,
              "timeout after tunnel addresses and ports");
static_assert(__builtin_offsetof(struct isthmus_steer_config, device_mac) == 40, "MAC address after the flags");

/* Per receive queue: when its polling thread last ran; written by that thread. A cache line each. 0: not polled. */
struct isthmus_heartbeat {
  __u64 nanoseconds;
  __u64 padding[7];
};
static_assert(sizeof(struct isthmus_heartbeat) == 64, "one cache line per queue");

/* Per CPU; one counter for each outcome. */
struct isthmus_steer_counters {
#define ISTHMUS_STEER_COUNTER(field, ...) __u64 field;
#include "dataplane/stats/counters.def"
};
/* How many rows the list has. */
enum {
  isthmus_steer_counter_count = 0
#define ISTHMUS_STEER_COUNTER(...) +1
#include "dataplane/stats/counters.def"
};
static_assert(sizeof(struct isthmus_steer_counters) == 8 * isthmus_steer_counter_count, "counters without padding");
