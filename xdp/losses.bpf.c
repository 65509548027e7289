// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Counts what a device does not take of the packets that isthmus_forward redirects to it: when the program has ended,
 * the kernel discards them, and nothing but two tracepoints says so. Loaded once for an engine (redirect_losses.h).
 *
 * Of these tracepoints, xdp_redirect_err is reached for a lost packet only; xdp_devmap_xmit once for up to 16 packets,
 * and where none is lost the program ends after one comparison. Raw, since Linux 6.1 refuses a typed one with a `const
 * void*` among its arguments.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h> /* needs the types of linux/bpf.h */

#include "xdp/abi.h"
#include "xdp/kernel_types.bpf.h"

/* Set by the loader before the programs are loaded: the network namespace of the engine's interfaces. In others there
   are interfaces of the same numbers. */
const volatile __u32 isthmus_losses_namespace = 0;

/* As in kernel_types.bpf.h. */
struct bpf_dtab_netdev {
  struct net_device* dev;
} __attribute__((preserve_access_index));

// clang-format off
/* The engine's interfaces: the counters of the steer program there, its isthmus_count. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
  __uint(max_entries, ISTHMUS_LOSSES_INTERFACES);
  __type(key, __u32);
  __array(values, struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __uint(key_size, sizeof(__u32));
    __uint(value_size, sizeof(struct isthmus_steer_counters));
  });
} isthmus_losses SEC(".maps");
// clang-format on

/* On the device that they were to leave by. Packets from an interface that is none of ours were redirected by a program
   that is none of ours. */
static __always_inline void lost(const struct net_device* from, const struct net_device* to, __u32 packets) {
  const __u32 only = 0, from_index = BPF_CORE_READ(from, ifindex), to_index = BPF_CORE_READ(to, ifindex);
  if (BPF_CORE_READ(to, nd_net.net, ns.inum) != isthmus_losses_namespace ||
      BPF_CORE_READ(from, nd_net.net, ns.inum) != isthmus_losses_namespace ||
      !bpf_map_lookup_elem(&isthmus_losses, &from_index)) {
    return;
  }
  void* there = bpf_map_lookup_elem(&isthmus_losses, &to_index);
  struct isthmus_steer_counters* counters = there ? bpf_map_lookup_elem(there, &only) : 0;
  if (counters) {
    counters->lost_after_redirect += packets;
  }
}

/* xdp:xdp_devmap_xmit: from device, to device, frames sent, frames dropped, error. The driver did not take them: its
   ring is full, or they are longer than what its other end takes. */
SEC("raw_tp/xdp_devmap_xmit")
int isthmus_unsent(__u64* arguments) {
  const __s32 packets = (__s32)arguments[3];
  if (packets > 0) {
    lost((const struct net_device*)arguments[0], (const struct net_device*)arguments[1], packets);
  }
  return 0;
}

/* xdp:xdp_redirect_err: from device, program, target, error, type of map, its id, index. One packet, which did not get
   as far as the driver: the device is down, or does not send what is redirected. */
SEC("raw_tp/xdp_redirect_err")
int isthmus_refused(__u64* arguments) {
  if ((__u32)arguments[4] == BPF_MAP_TYPE_DEVMAP) {
    const struct bpf_dtab_netdev* target = (const struct bpf_dtab_netdev*)arguments[2];
    lost((const struct net_device*)arguments[0], BPF_CORE_READ(target, dev), 1);
  }
  return 0;
}

char isthmus_losses_license[] SEC("license") = "Dual BSD/GPL";
