/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The maps of the kernel programs. Each loaded object (one per device leg) has its own. The engine writes them, the
 * program only reads them, except for counters, verdicts, and what it keeps beside the heartbeats. The loader resizes
 * isthmus_xsks and isthmus_beats to the number of the leg's receive queues.
 */
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h> /* needs the types of linux/bpf.h */

#include "xdp/abi.h"

#define ISTHMUS_MAX_PEERS 65536
#define ISTHMUS_MAX_PREFIXES 262144

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct isthmus_steer_config);
} isthmus_config SEC(".maps");

/* Remote peers, whose tunnel packets are taken. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, ISTHMUS_MAX_PEERS);
  __type(key, struct isthmus_address);
  __type(value, __u32);
} isthmus_peers SEC(".maps");

/* Remote prefixes, VIPs, translation addresses: the destinations that the engine handles. */
struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, ISTHMUS_MAX_PREFIXES);
  __type(key, struct isthmus_lpm_key);
  __type(value, __u32);
} isthmus_fleet SEC(".maps");

/* This cluster's own sources. */
struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, ISTHMUS_MAX_PREFIXES);
  __type(key, struct isthmus_lpm_key);
  __type(value, __u32);
} isthmus_local SEC(".maps");

/* Sources of clusters with native routing: what they send to this cluster is taken, too. */
struct {
  __uint(type, BPF_MAP_TYPE_LPM_TRIE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, ISTHMUS_MAX_PREFIXES);
  __type(key, struct isthmus_lpm_key);
  __type(value, __u32);
} isthmus_native SEC(".maps");

/* Verdicts of these tables, for (source, destination): the program's own. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, ISTHMUS_VERDICTS);
  __type(key, __u32);
  __type(value, struct isthmus_verdict);
} isthmus_verdicts SEC(".maps");

/* The engine's AF_XDP sockets, by receive queue. */
struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
} isthmus_xsks SEC(".maps");

/* Heartbeats, by receive queue; mapped into the engine. Its name is ISTHMUS_HEARTBEATS_MAP. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct isthmus_heartbeat);
} isthmus_beats SEC(".maps");

/* Without types, as its place in losses.bpf.c: to Linux 6.1 a map with types is another kind. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __uint(key_size, sizeof(__u32));
  __uint(value_size, sizeof(struct isthmus_steer_counters));
} isthmus_count SEC(".maps");

/* What the engine hands down (abi.h). Every leg of an engine uses the same maps, made by the loader (kernel_flows.h);
   sizes here are those of a leg that has none. */

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct isthmus_entry);
} isthmus_flows SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct isthmus_chains);
} isthmus_chains SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct isthmus_lease);
} isthmus_leases SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct isthmus_tunnel);
} isthmus_tunnels SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct isthmus_hop);
} isthmus_hops SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct isthmus_epochs);
} isthmus_epochs SEC(".maps");

/* Egress interfaces, by the engine's number of the device. */
struct {
  __uint(type, BPF_MAP_TYPE_DEVMAP);
  __uint(max_entries, ISTHMUS_MAX_DEVICES);
  __type(key, __u32);
  __type(value, __u32);
} isthmus_devices SEC(".maps");

/* isthmus_forward, where packets may be forwarded here; else empty. */
struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
} isthmus_progs SEC(".maps");
