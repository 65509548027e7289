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

/* Set before loading (.rodata): the programs' only constants. */
struct isthmus_constants {
  __u64 secret;     /* of isthmus_flow_hash() */
  __u8 chain_shift; /* leaves of a hash the number of a chain */
  __u8 fragments;   /* 1: the program may be given frames in several buffers */
  __u16 gathered;   /* bytes of such a frame that the kernel puts into one buffer of the engine; 0: it cannot */
  __u8 padding[4];
};
static_assert(sizeof(struct isthmus_constants) == 16, "constants without padding");

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
#define ISTHMUS_FORWARDS 8            /* `device` and `realm` are set: packets of flows handed down are forwarded */
#define ISTHMUS_UNDERLAY 16           /* the device has the underlay role */

#define ISTHMUS_TUNNEL_PORTS 2 /* one for each kind of tunnel */

/* Where tunnel packets are taken: at either address and any of the ports. 0: none. */
struct isthmus_steer_config {
  __u8 tunnel_ipv6[16];
  __u32 tunnel_ipv4;
  __u16 tunnel_ports[ISTHMUS_TUNNEL_PORTS];
  __u64 heartbeat_timeout_ns;
  __u64 flags;
  __u16 device_mac[3];     /* the interface's own address, in wire order */
  __u16 realm;             /* of the engine's flow keys */
  __u64 orphan_timeout_ns; /* without a heartbeat for so long, nothing is forwarded any more */
  __u64 rules_version;     /* from 1: another one after every change of peers and prefixes */
};
static_assert(sizeof(struct isthmus_steer_config) == 64, "configuration without padding");
static_assert(__builtin_offsetof(struct isthmus_steer_config, tunnel_ipv4) == 16, "after the IPv6 address");
static_assert(__builtin_offsetof(struct isthmus_steer_config, heartbeat_timeout_ns) == 24,
              "timeout after tunnel addresses and ports");
static_assert(__builtin_offsetof(struct isthmus_steer_config, device_mac) == 40, "MAC address after the flags");
static_assert(__builtin_offsetof(struct isthmus_steer_config, orphan_timeout_ns) == 48, "after MAC address and realm");

/* A verdict of the rules about packets from one address to another (classify.bpf.h). */
#define ISTHMUS_VERDICTS 1024 /* on each CPU */
struct isthmus_verdict {
  __u64 stamp; /* the version of the rules, shifted by eight; family; verdict */
  __u64 word[4];
};
static_assert(sizeof(struct isthmus_verdict) == 40, "record without padding");

/* ---- Settled flows that the engine has handed down (forward.bpf.c) ------------------------------------------------

   One entry of isthmus_flows for each direction, under the key that its packets have on arrival. The engine alone
   writes entries, in memory that both have mapped; an entry that is there is never changed but for `next`: it is
   unlinked, and its memory and its numbers (lease, tunnels, next hop) are used again only after every running program
   has ended. Whether an entry holds stands in its lease and in the epoch words.

   2026-11-30: the table is the programs' own, not a hash map of the kernel: calls from a program, and what a look-up
   calls, cost much where the kernel guards its returns against speculation, and this look-up calls nothing. With the
   kernel's map 0.77 to 0.81 of a bare redirect's rate at 1,024 flows, 407 MiB for a million flows, and 1.1 to 1.6 us
   to insert an entry; with this one 0.85 to 0.90, 315 MiB, 0.09 us. */
#define ISTHMUS_FORWARD_PROGRAM "isthmus_forward"
#define ISTHMUS_LEASES_MAP "isthmus_leases"
#define ISTHMUS_PROGRAMS_MAP "isthmus_progs"
#define ISTHMUS_PROGS_FORWARD 0 /* the place of isthmus_forward */
#define ISTHMUS_FLOWS_MAP "isthmus_flows"
#define ISTHMUS_CHAINS_MAP "isthmus_chains"
static_assert(sizeof(ISTHMUS_FORWARD_PROGRAM) <= 16 && sizeof(ISTHMUS_LEASES_MAP) <= 16 &&
                  sizeof(ISTHMUS_FLOWS_MAP) <= 16 && sizeof(ISTHMUS_CHAINS_MAP) <= 16,
              "BPF_OBJ_NAME_LEN");

/* As dataplane/packet/flow_key.h has it. IPv4: `head` is source and destination address, `tail` is zero. IPv6: `head`
   and `tail` are the source address, then the destination address. */
struct isthmus_flow_key {
  __u64 head;
  __u16 source_port;
  __u16 destination_port;
  __u8 protocol;
  __u8 family; /* ISTHMUS_IPV4 or ISTHMUS_IPV6 */
  __u16 realm;
  __u64 tail[3];
};
static_assert(sizeof(struct isthmus_flow_key) == 40, "key without padding");
static_assert(__builtin_offsetof(struct isthmus_flow_key, tail) == 16, "as FlowKey");

/* A secret keeps senders from choosing keys that meet in one chain. The upper bits are the better ones. */
static inline __attribute__((always_inline)) __u64 isthmus_flow_hash(const struct isthmus_flow_key* key, __u64 ports,
                                                                     __u64 secret) {
  const __u64 odd = 0x9e3779b97f4a7c15ULL, other = 0xd6e8feb86659fd93ULL;
  __u64 sum = (key->head ^ secret) * odd + ports * other;
  sum ^= sum >> 32;
  if (key->family == ISTHMUS_IPV6) {
    for (int i = 0; i < 3; i++) {
      sum = (sum ^ key->tail[i]) * other;
      sum ^= sum >> 32;
    }
  }
  return sum * odd;
}

/* Bits of isthmus_flow.flags; the first four as in DirectionBlock. */
#define ISTHMUS_REWRITE_SOURCE 1
#define ISTHMUS_REWRITE_DESTINATION 2
#define ISTHMUS_DECREMENT_TTL 4
#define ISTHMUS_ENCAPSULATE 8
#define ISTHMUS_FROM_TUNNEL 16   /* arrives in a tunnel of `from`, with `from_vni` */
#define ISTHMUS_FROM_UNDERLAY 32 /* arrives without a tunnel, on the device with the underlay role */

#define ISTHMUS_EPOCHS_PER_FLOW 6
#define ISTHMUS_EPOCH_WORDS 32768

struct isthmus_flow {
  __u8 source[16], destination[16];    /* after rewriting; IPv4 in the first four bytes, the rest is zero */
  __u32 lease;                         /* index in isthmus_leases, and of its entry in isthmus_flows */
  __u32 next_hop;                      /* index in isthmus_hops */
  __u32 vni_word;                      /* VNI to send, as in the tunnel header: upper three bytes on the wire */
  __u32 from_vni;                      /* that packets must have, as in the tunnel header; the lowest byte is zero */
  __u16 source_port, destination_port; /* after rewriting */
  __u16 outer_port;                    /* outer UDP source port */
  __u16 tunnel;                        /* index in isthmus_tunnels of the end that it goes to */
  __u16 from;                          /* the same of the end that it must come from */
  __u16 mtu;                           /* the longest inner IP packet, in bytes */
  __u16 ip_delta, l4_delta;            /* as in DirectionBlock: one's complement differences (RFC 1624) */
  __u16 epoch_index[ISTHMUS_EPOCHS_PER_FLOW]; /* 0: unused; counts all the same */
  __u8 flags;
  __u8 device; /* index in isthmus_devices */
  __u16 padding;
};
static_assert(sizeof(struct isthmus_flow) == 80, "value without padding");
static_assert(__builtin_offsetof(struct isthmus_flow, source_port) == 48, "after the words");
static_assert(__builtin_offsetof(struct isthmus_flow, epoch_index) == 64, "after the halves");

/* Keys of one hash are a chain. It begins with the number in isthmus_chains at the hash's upper bits; 0 ends it. */
#define ISTHMUS_CHAINS_IN_LINE 16
struct isthmus_chains {
  __u32 first[ISTHMUS_CHAINS_IN_LINE];
};
static_assert(sizeof(struct isthmus_chains) == 64, "a cache line: the kernel makes elements of eight bytes at least");

#define ISTHMUS_LONGEST_CHAIN 8
struct isthmus_entry {
  struct isthmus_flow_key key;
  __u32 next;
  __u32 linked; /* for the engine: 1 while it is in a chain */
  struct isthmus_flow flow;
};
static_assert(sizeof(struct isthmus_entry) == 128, "two cache lines");
static_assert(__builtin_offsetof(struct isthmus_entry, next) == 40, "after the key");

/* A right to forward, of one direction. Written by the engine but for `packets` and `bytes`, to which programs of any
   CPU add; they begin with what has been forwarded of the direction before. */
struct isthmus_lease {
  __u32 sum;   /* of the flow's epoch words, at which its decision holds */
  __u32 valid; /* 1: it holds; 0: withdrawn, packets go up to the engine */
  __u64 packets;
  __u64 bytes; /* of inner IP packets */
};
static_assert(sizeof(struct isthmus_lease) == 24, "lease without padding");
static_assert(__builtin_offsetof(struct isthmus_lease, packets) == 8, "sum and valid are read as one word");

/* Of the records below, and of devices. */
#define ISTHMUS_MAX_TUNNELS 65536
#define ISTHMUS_MAX_HOPS 65536
#define ISTHMUS_MAX_DEVICES 64

#define ISTHMUS_HEADER_CAPACITY 96

/* A tunnel end: what to put in front of packets to it, and what its packets look like. */
struct isthmus_tunnel {
  __u8 header[ISTHMUS_HEADER_CAPACITY]; /* as OuterHeader::bytes: Ethernet to inner Ethernet */
  __u32 sum;                            /* as OuterHeader::sum */
  __u16 size;                           /* bytes of `header` in use; 0: nothing can be sent */
  __u16 overhead;                       /* as OuterHeader::overhead */
  __u8 address[16];                     /* the end's own underlay address; IPv4 in the first four bytes */
  __u16 from_port;                      /* UDP destination port of its packets */
  __u8 from_kind;                       /* ISTHMUS_VXLAN or ISTHMUS_GENEVE: of its packets */
  __u8 family;                          /* of the underlay between it and us: ISTHMUS_IPV4 or ISTHMUS_IPV6 */
  __u32 padding;
};
static_assert(sizeof(struct isthmus_tunnel) == 128, "record without padding");
static_assert(__builtin_offsetof(struct isthmus_tunnel, address) == 104, "after the header's sizes");

#define ISTHMUS_VXLAN 0 /* as EncapsulationKind */
#define ISTHMUS_GENEVE 1

/* The eight bytes of a plain tunnel header as one little-endian word, as PlainHeader has them. */
#define ISTHMUS_VXLAN_MASK 0xff000000ffffffffULL
#define ISTHMUS_VXLAN_VALUE 0x0000000000000008ULL
#define ISTHMUS_GENEVE_MASK 0x00000000ffff80ffULL
#define ISTHMUS_GENEVE_VALUE 0x0000000058650000ULL

/* The Ethernet addresses of frames to a next hop. Changed in place. */
struct isthmus_hop {
  __u8 addresses[12]; /* destination, source */
  __u32 resolved;     /* 0: packets go up to the engine */
};
static_assert(sizeof(struct isthmus_hop) == 16, "record without padding");

/* The engine's epoch words (dataplane/conntrack/epoch_table.h). */
struct isthmus_epochs {
  __u32 word[ISTHMUS_EPOCH_WORDS];
};
static_assert(sizeof(struct isthmus_epochs) == 131072, "words without padding");

/* What became of the frames of a probe (probe.bpf.c). */
struct isthmus_probe_result {
  __u32 sent, dropped;
  __s32 error; /* of the last attempt: 0, or a negative error number */
};
static_assert(sizeof(struct isthmus_probe_result) == 12, "result without padding");

/* Interfaces that losses.bpf.c can count at. */
#define ISTHMUS_LOSSES_INTERFACES 64

/* Per receive queue, a cache line each: when its polling thread last ran, written by that thread; 0: never. With
   ISTHMUS_NOT_POLLED it has ended, and only what is handed down goes on. The program keeps beside it what its last look
   at the clock has shown, which it takes once in a tick. */
struct isthmus_heartbeat {
  __u64 nanoseconds;
  __u64 seen;  /* the value of `nanoseconds` then */
  __u64 state; /* the tick, shifted; and the two bits */
  __u64 padding[5];
};
#define ISTHMUS_NOT_POLLED 1ull  /* of the nanoseconds, which are even else */
#define ISTHMUS_QUEUE_POLLED 1   /* within heartbeat_timeout_ns */
#define ISTHMUS_QUEUE_FORWARDS 2 /* within orphan_timeout_ns */
#define ISTHMUS_QUEUE_BITS 2
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
