// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The program of an interface: what isthmus_forward does not forward, or all where it is not there, classify.bpf.h
 * decides.
 */
#include "xdp/classify.bpf.h"

SEC("xdp")
int isthmus_steer(struct xdp_md* ctx) {
  bpf_tail_call(ctx, &isthmus_progs, ISTHMUS_PROGS_FORWARD);
  return classify(ctx);
}
