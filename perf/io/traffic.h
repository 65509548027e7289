/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Shared by perf/io/traffic.bpf.c and its loader. Host byte order but for the header. */
#pragma once

#include <linux/types.h>

#define PUMP_HEADER_BYTES 128

struct pump_template {
  __u8 header[PUMP_HEADER_BYTES]; /* the frame's first bytes, as on the wire */
  __u32 vary_at;                  /* offset of the 16 bits that tell flows apart (an L4 port) */
  __u32 flows;
  __u32 first_value;
  __u32 next; /* the pump's own */
};
