// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Tells whether an interface sends frames that an XDP program redirects to it: one program redirects a frame that the
 * loader makes, the other listens to what the kernel says of it. Loaded for a moment, at the start of a device, where
 * the kernel has no list of features (before Linux 6.3).
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h> /* needs the types of linux/bpf.h */

#include "xdp/abi.h"

/* Set by the loader before the programs are loaded. */
const volatile __u32 isthmus_probe_target = 0;  /* interface index */
const volatile __u32 isthmus_probe_process = 0; /* only what this process redirects counts */

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct isthmus_probe_result);
} isthmus_result SEC(".maps");

SEC("xdp")
int isthmus_probe(struct xdp_md* ctx) { return bpf_redirect(isthmus_probe_target, 0); }

/* xdp:xdp_devmap_xmit: from device, to device, frames sent, frames dropped, error. */
SEC("raw_tracepoint/xdp_devmap_xmit")
int isthmus_probed(struct bpf_raw_tracepoint_args* ctx) {
  const __u32 only = 0;
  struct isthmus_probe_result* result = bpf_map_lookup_elem(&isthmus_result, &only);
  if (result && bpf_get_current_pid_tgid() >> 32 == isthmus_probe_process) {
    result->sent += (__u32)ctx->args[2];
    result->dropped += (__u32)ctx->args[3];
    result->error = (__s32)ctx->args[4];
  }
  return 0;
}

char isthmus_probe_license[] SEC("license") = "Dual BSD/GPL";
