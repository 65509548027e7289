// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The object that is loaded for each leg of a device: both programs, with maps in common.
 */
#include "xdp/forward.bpf.c"
#include "xdp/steer.bpf.c"

char isthmus_license[] SEC("license") = "Dual BSD/GPL";
