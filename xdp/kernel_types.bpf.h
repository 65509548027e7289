/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What programs on tracepoints read of the kernel's structures; the loader puts in where it is (BTF). */
#pragma once

#include <bpf/bpf_core_read.h>

struct ns_common {
  unsigned int inum;
} __attribute__((preserve_access_index));
struct net {
  struct ns_common ns;
} __attribute__((preserve_access_index));
struct net_device {
  int ifindex;
  struct {
    struct net* net;
  } nd_net;
} __attribute__((preserve_access_index));
