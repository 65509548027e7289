// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Tells whether an interface sends frames that an XDP program redirects to it: one program redirects a frame that the
 * loader makes, the others listen to what the kernel says of it. Loaded for a moment, now and then, where the kernel
 * has no list of features (before Linux 6.3). What others redirect to the interface meanwhile says as much.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h> /* needs the types of linux/bpf.h */

#include "xdp/abi.h"
#include "xdp/kernel_types.bpf.h"

/* Set by the loader before the programs are loaded. */
const volatile __u32 isthmus_probe_target = 0;    /* interface index */
const volatile __u32 isthmus_probe_namespace = 0; /* and the network namespace it is in */

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct isthmus_probe_result);
} isthmus_result SEC(".maps");

SEC("xdp")
int isthmus_probe(struct xdp_md* ctx) { return bpf_redirect(isthmus_probe_target, 0); }

static __always_inline int is_here(const struct net_device* device) {
  return BPF_CORE_READ(device, nd_net.net, ns.inum) == isthmus_probe_namespace;
}

/* xdp:xdp_devmap_xmit: from device, to device, frames sent, frames dropped, error. */
SEC("raw_tp/xdp_devmap_xmit")
int isthmus_probed(__u64* arguments) {
  const __u32 only = 0;
  const struct net_device* to = (const struct net_device*)arguments[1];
  struct isthmus_probe_result* result = bpf_map_lookup_elem(&isthmus_result, &only);
  if (result && (__u32)BPF_CORE_READ(to, ifindex) == isthmus_probe_target && is_here(to)) {
    result->sent += (__u32)arguments[2];
    result->dropped += (__u32)arguments[3];
    result->error = (__s32)arguments[4];
  }
  return 0;
}

/* xdp:xdp_redirect_err: from device, program, target, error, type of map, its id, index. By index alone, as above. */
SEC("raw_tp/xdp_redirect_err")
int isthmus_unprobed(__u64* arguments) {
  const __u32 only = 0;
  struct isthmus_probe_result* result = bpf_map_lookup_elem(&isthmus_result, &only);
  if (result && (__u32)arguments[4] == BPF_MAP_TYPE_UNSPEC && (__u32)arguments[6] == isthmus_probe_target &&
      is_here((const struct net_device*)arguments[0])) {
    ++result->dropped;
    result->error = (__s32)arguments[3];
  }
  return 0;
}

char isthmus_probe_license[] SEC("license") = "Dual BSD/GPL";
