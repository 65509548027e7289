/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Loads and stores of words, as they lie in memory.
 */
#pragma once

#include <linux/types.h>

#include <bpf/bpf_helpers.h> /* needs the types of linux/types.h */

/* Words of a packet, at any address. */
typedef __u64 __attribute__((may_alias)) word64;
typedef __u32 __attribute__((may_alias)) word32;
typedef __u16 __attribute__((may_alias)) word16;
static __always_inline __u64 load64(const void* at) { return *(const word64*)at; }
static __always_inline __u32 load32(const void* at) { return *(const word32*)at; }
static __always_inline __u16 load16(const void* at) { return *(const word16*)at; }
static __always_inline void store64(void* at, __u64 value) { *(word64*)at = value; }
static __always_inline void store32(void* at, __u32 value) { *(word32*)at = value; }
static __always_inline void store16(void* at, __u16 value) { *(word16*)at = value; }
