// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Carries out the decisions that the engine has handed down (abi.h), for the plain packets of settled flows, byte for
 * byte as dataplane/path does; the identification of outer IPv4 headers counts for each CPU and queue. Everything else
 * goes on to the classification, as it came: nothing is changed before all that could keep the packet from being sent
 * is known.
 *
 * A decision holds while its lease is valid and the epoch words have not moved, and only for packets of its origin: the
 * peer's own underlay address, kind of tunnel and VNI, or the role of the device.
 *
 * Left to the engine is what has no checksum over all of its L4 packet (UDP without one, or shorter than its IP packet)
 * and goes into a tunnel over IPv6, or has come out of one: the outer checksum covers every byte, and only such an
 * inner one makes its sum known without reading them. RFC 6935 would allow an outer checksum of zero, but only between
 * ends that are known to take it (RFC 6936 section 4): a kernel's VXLAN device drops it by default, and here it would
 * leave the VNI, which is the sender's identity, without any check.
 *
 * 2026-11-30: frames are padded with zeros to Ethernet's least, as the engine's are (frame.h). Drivers pad what the
 * stack sends where their hardware needs it, but not what XDP redirects: bnxt pads to 52 bytes in ndo_start_xmit alone.
 * 2026-11-30: what goes back to the device that it came from is redirected there as well. XDP_TX costs a little less,
 * but a veth whose peer has GRO and no program then fills the peer's ring without waking it, and nothing leaves any
 * more.
 */
#include "xdp/classify.bpf.h"
#include "xdp/inner.bpf.h"

#define UP (-1) /* not forwarded here */

/* How a packet arrived. */
struct arrival {
  __u64 header;    /* the tunnel header's eight bytes */
  __u32 length;    /* of the frame */
  __u32 inner;     /* where the inner Ethernet header is; 0: not in a tunnel */
  __u32 available; /* bytes from there to the end of the outer packet, or of the frame */
  __u16 port;      /* outer UDP destination port */
  __u8 ecn;        /* of the outer IP header */
  __u8 family;     /* of the underlay */
};

#define BEHIND_UDP (8 + ETH_HLEN) /* tunnel header and inner Ethernet header */
#define OVER_IPV4 (IPV4_BYTES + UDP_BYTES + BEHIND_UDP)
#define OVER_IPV6 (IPV6_BYTES + UDP_BYTES + BEHIND_UDP)
#define OUTER_IPV4_BYTES (ETH_HLEN + OVER_IPV4)
#define OUTER_IPV6_BYTES (ETH_HLEN + OVER_IPV6)
static_assert(OUTER_IPV4_BYTES == 64 && OUTER_IPV6_BYTES == 84 && OUTER_IPV6_BYTES <= ISTHMUS_HEADER_CAPACITY,
              "as in encap.h");

/* Reads the outer headers of a packet on the underlay. False: to us in a tunnel, but not plain. Precondition: the
   first 42 bytes are readable. */
static __always_inline int read_outer(const struct run* run, const void* data, const void* end, struct arrival* into) {
  const __u32 start = load32(data + ETH_HLEN - 2);
  const void* ip = data + ETH_HLEN;
  if ((start & PLAIN_IPV4_MASK) == PLAIN_IPV4) {
    const struct iphdr* header = ip;
    const struct udphdr* udp = ip + IPV4_BYTES;
    if (header->protocol != IPPROTO_UDP || header->daddr != run->config->tunnel_ipv4 || header->daddr == 0 ||
        !is_tunnel_port(run, udp->dest)) {
      return 1;
    }
    const __u32 bytes = bpf_ntohs(header->tot_len);
    if ((header->frag_off & bpf_htons(FRAGMENT_BITS)) || bytes < OVER_IPV4 || bytes > into->length - ETH_HLEN ||
        bpf_ntohs(udp->len) + IPV4_BYTES != bytes || (const void*)(udp + 1) + 8 > end) {
      return 0;
    }
    into->family = ISTHMUS_IPV4;
    into->port = udp->dest;
    into->header = load64(udp + 1);
    into->ecn = header->tos & 3;
    into->inner = OUTER_IPV4_BYTES - ETH_HLEN;
    into->available = bytes - (OVER_IPV4 - ETH_HLEN);
    return 1;
  }
  if ((start & PLAIN_IPV6_MASK) == PLAIN_IPV6) {
    const struct ipv6hdr* header = ip;
    const struct udphdr* udp = ip + IPV6_BYTES;
    if ((const void*)(udp + 1) + BEHIND_UDP > end) {
      return 1; /* read_inner() refuses it, if it is in no tunnel */
    }
    if (header->nexthdr != IPPROTO_UDP || !is_tunnel_ipv6(run, &header->daddr) || !is_tunnel_port(run, udp->dest)) {
      return 1;
    }
    const __u32 bytes = bpf_ntohs(header->payload_len);
    if (bytes < OVER_IPV6 - IPV6_BYTES || bytes + IPV6_BYTES > into->length - ETH_HLEN ||
        bpf_ntohs(udp->len) != bytes) {
      return 0;
    }
    into->family = ISTHMUS_IPV6;
    into->port = udp->dest;
    into->header = load64(udp + 1);
    into->ecn = start >> 28 & 3;
    into->inner = OUTER_IPV6_BYTES - ETH_HLEN;
    into->available = bytes - (OVER_IPV6 - ETH_HLEN - IPV6_BYTES);
  }
  return 1;
}

/* Whether the decision has not been withdrawn. The lease is one word: sum and validity belong together. */
static __always_inline struct isthmus_lease* lease_of(const struct isthmus_flow* flow, __u32 number) {
  const __u32 only = 0;
  struct isthmus_lease* lease = bpf_map_lookup_elem(&isthmus_leases, &number);
  const struct isthmus_epochs* epochs = bpf_map_lookup_elem(&isthmus_epochs, &only);
  if (!lease || !epochs) {
    return 0;
  }
  const __u64 word = *(const volatile __u64*)lease;
  __u32 sum = 0;
#pragma unroll
  for (int i = 0; i < ISTHMUS_EPOCHS_PER_FLOW; i++) {
    sum += *(const volatile __u32*)&epochs->word[flow->epoch_index[i] & (ISTHMUS_EPOCH_WORDS - 1)];
  }
  return word == (1ULL << 32 | sum) ? lease : 0;
}

/* Of a packet over IPv6: as checksum_holds() in encap.h. */
static __always_inline int checksum_holds(const void* data, const void* end, const struct arrival* arrival,
                                          const struct inner* inner) {
  const void* udp = data + ETH_HLEN + IPV6_BYTES;
  if (!inner->covered || inner->bytes + ETH_HLEN != arrival->available || data + OUTER_IPV6_BYTES + IPV4_BYTES > end) {
    return 0;
  }
  __u64 sum = sum_of(data + ETH_HLEN + 8, 8, 0); /* the addresses */
  sum += load16(udp + 4);                        /* the length, which is the UDP header's own */
  sum += bpf_htons(IPPROTO_UDP);
  sum = sum_of(udp, (UDP_BYTES + BEHIND_UDP) / 4, sum);
  sum += load16(udp + UDP_BYTES + BEHIND_UDP - 2);
  sum += inner_sum(data + OUTER_IPV6_BYTES, inner);
  return load16(udp + 6) != 0 && fold(sum) == 0xffff;
}

/* Whether the packet came from where the decision says, and its underlay's mark leaves the inner one as it is. */
static __always_inline int origin_holds(const struct run* run, const void* data, const void* end,
                                        const struct isthmus_flow* flow, const struct arrival* arrival,
                                        const struct inner* inner) {
  const __u32 origin = flow->flags & (ISTHMUS_FROM_TUNNEL | ISTHMUS_FROM_UNDERLAY);
  if (arrival->inner == 0) {
    return origin == (run->config->flags & ISTHMUS_UNDERLAY ? ISTHMUS_FROM_UNDERLAY : 0);
  }
  const __u32 number = flow->from;
  const struct isthmus_tunnel* from = bpf_map_lookup_elem(&isthmus_tunnels, &number);
  if (!from || origin != ISTHMUS_FROM_TUNNEL || from->family != arrival->family || from->from_port != arrival->port ||
      (__u32)(arrival->header >> 32 & 0xffffff) != flow->from_vni) {
    return 0;
  }
  const int geneve = from->from_kind == ISTHMUS_GENEVE;
  if ((arrival->header & (geneve ? ISTHMUS_GENEVE_MASK : ISTHMUS_VXLAN_MASK)) !=
      (geneve ? ISTHMUS_GENEVE_VALUE : ISTHMUS_VXLAN_VALUE)) {
    return 0;
  }
  if ((arrival->ecn & 1) && (arrival->ecn == 3 || inner->ecn == 2)) { /* changes_ecn() in decap.h */
    return 0;
  }
  if (arrival->family == ISTHMUS_IPV4) {
    return load32(data + ETH_HLEN + 12) == load32(from->address);
  }
  return load64(data + ETH_HLEN + 8) == load64(from->address) &&
         load64(data + ETH_HLEN + 16) == load64(from->address + 8) && checksum_holds(data, end, arrival, inner);
}

/* All that the decision takes to send the packet. */
struct departure {
  const struct isthmus_tunnel* tunnel; /* 0: leaves without one */
  const struct isthmus_hop* hop;
  __u32 at; /* where the inner IP header will be */
};

/* False: it cannot be sent from here. The redirection is made here, where it can still fail. */
static __always_inline int prepare(const struct isthmus_flow* flow, const struct inner* inner, struct departure* into) {
  const __u32 hop = flow->next_hop, tunnel = flow->tunnel;
  if (inner->bytes > flow->mtu || ((flow->flags & ISTHMUS_DECREMENT_TTL) && inner->hops <= 1)) {
    return 0;
  }
  into->tunnel = 0;
  into->at = ETH_HLEN;
  if (flow->flags & ISTHMUS_ENCAPSULATE) {
    into->tunnel = bpf_map_lookup_elem(&isthmus_tunnels, &tunnel);
    if (!into->tunnel) {
      return 0;
    }
    if (into->tunnel->size == OUTER_IPV4_BYTES) {
      into->at = OUTER_IPV4_BYTES;
    } else if (into->tunnel->size == OUTER_IPV6_BYTES && inner->covered) {
      into->at = OUTER_IPV6_BYTES;
    } else {
      return 0;
    }
  }
  into->hop = bpf_map_lookup_elem(&isthmus_hops, &hop);
  if (!into->hop || !*(const volatile __u32*)&into->hop->resolved) {
    return 0;
  }
  return bpf_redirect_map(&isthmus_devices, flow->device, 0) == XDP_REDIRECT;
}

#define REWRITE (ISTHMUS_REWRITE_SOURCE | ISTHMUS_REWRITE_DESTINATION)

/* As dataplane/path/rewrite.h. False cannot happen: the packet is as long as it was. */
static __always_inline int rewrite_l4(void* l4, const void* end, const struct isthmus_flow* flow,
                                      const struct inner* inner) {
  if (inner->key.protocol == IPPROTO_TCP) {
    if (l4 + TCP_BYTES > end) {
      return 0;
    }
    store16(l4 + 16, apply_difference(load16(l4 + 16), flow->l4_delta));
  } else {
    if (l4 + UDP_BYTES > end) {
      return 0;
    }
    const __u16 checksum = load16(l4 + 6);
    if (checksum != 0) { /* zero means none (RFC 768) */
      const __u16 fixed = apply_difference(checksum, flow->l4_delta);
      store16(l4 + 6, fixed == 0 ? 0xffff : fixed);
    }
  }
  store32(l4, load32(&flow->source_port)); /* and the destination port */
  return 1;
}

static __always_inline int rewrite(void* ip, const void* end, const struct isthmus_flow* flow,
                                   const struct inner* inner) {
  if (inner->key.family == ISTHMUS_IPV4) {
    struct iphdr* header = ip;
    if ((void*)(header + 1) > end) {
      return 0;
    }
    if (flow->flags & ISTHMUS_DECREMENT_TTL) {
      header->ttl--;
    }
    if (flow->flags & REWRITE) {
      store32(&header->saddr, load32(flow->source));
      store32(&header->daddr, load32(flow->destination));
      if (!rewrite_l4(ip + IPV4_BYTES, end, flow, inner)) {
        return 0;
      }
    }
    if (flow->flags & (REWRITE | ISTHMUS_DECREMENT_TTL)) {
      header->check = apply_difference(header->check, flow->ip_delta); /* the TTL's difference included */
    }
    return 1;
  }
  struct ipv6hdr* header = ip;
  if ((void*)(header + 1) > end) {
    return 0;
  }
  if (flow->flags & ISTHMUS_DECREMENT_TTL) {
    header->hop_limit--;
  }
  if (flow->flags & REWRITE) {
    store64(&header->saddr, load64(flow->source));
    store64((void*)&header->saddr + 8, load64(flow->source + 8));
    store64(&header->daddr, load64(flow->destination));
    store64((void*)&header->daddr + 8, load64(flow->destination + 8));
    return rewrite_l4(ip + IPV6_BYTES, end, flow, inner);
  }
  return 1;
}

/* The next hop's addresses, and the four bytes behind them. */
static __always_inline void put_addresses(void* data, const struct isthmus_hop* hop, __u32 behind) {
  store64(data, load64(hop->addresses));
  store64(data + 8, load32(hop->addresses + 8) | (__u64)behind << 32);
}

/* The next two as push_ipv4() and push_ipv6() in dataplane/encap/encap.h, and the Ethernet addresses. */
static __always_inline int push_ipv4(void* data, const void* end, const struct departure* departure,
                                     const struct isthmus_flow* flow, const struct inner* inner, __u16 id) {
  const struct isthmus_tunnel* tunnel = departure->tunnel;
  if (data + OUTER_IPV4_BYTES > end) {
    return 0;
  }
  void* ip = data + ETH_HLEN;
  void* udp = ip + IPV4_BYTES;
  const __u32 total = inner->bytes + tunnel->overhead;
  put_addresses(data, departure->hop, load32(tunnel->header + 12));
#pragma unroll
  for (int at = 16; at < OUTER_IPV4_BYTES; at += 8) {
    store64(data + at, load64(tunnel->header + at));
  }
  store16(ip + 2, bpf_htons(total));
  store16(ip + 4, id);
  __u32 sum = tunnel->sum + bpf_htons(total) + id;
  if (inner->ecn != 0) {
    *(__u8*)(ip + 1) = inner->ecn;
    sum += bpf_htons(inner->ecn);
  }
  sum = (sum & 0xffff) + (sum >> 16);
  sum += sum >> 16;
  store16(ip + 10, ~sum);
  store16(udp, flow->outer_port);
  store16(udp + 4, bpf_htons(total - IPV4_BYTES));
  store32(udp + UDP_BYTES + 4, flow->vni_word);
  if (inner->key.family != ISTHMUS_IPV4) {
    store16(data + OUTER_IPV4_BYTES - 2, bpf_htons(ETH_P_IPV6));
  }
  return 1;
}

static __always_inline int push_ipv6(void* data, const void* end, const struct departure* departure,
                                     const struct isthmus_flow* flow, const struct inner* inner) {
  const struct isthmus_tunnel* tunnel = departure->tunnel;
  if (data + OUTER_IPV6_BYTES + IPV4_BYTES > end) {
    return 0;
  }
  void* ip = data + ETH_HLEN;
  void* udp = ip + IPV6_BYTES;
  const __u16 length = bpf_htons(inner->bytes + tunnel->overhead - IPV6_BYTES);
  put_addresses(data, departure->hop, load32(tunnel->header + 12));
#pragma unroll
  for (int at = 16; at < OUTER_IPV6_BYTES - 4; at += 8) {
    store64(data + at, load64(tunnel->header + at));
  }
  store32(data + OUTER_IPV6_BYTES - 4, load32(tunnel->header + OUTER_IPV6_BYTES - 4));
  /* Version, ECN, and the source port as flow label. */
  store32(ip, 0x60u | (__u32)inner->ecn << 12 | (__u32)flow->outer_port << 16);
  store16(ip + 4, length);
  store16(udp, flow->outer_port);
  store16(udp + 4, length);
  store32(udp + UDP_BYTES + 4, flow->vni_word);
  /* The length is in the UDP header and in its pseudo-header. */
  __u64 sum = (__u64)tunnel->sum + 2 * (__u64)length + flow->outer_port + flow->vni_word +
              inner_sum(data + OUTER_IPV6_BYTES, inner);
  if (inner->key.family != ISTHMUS_IPV4) {
    store16(data + OUTER_IPV6_BYTES - 2, bpf_htons(ETH_P_IPV6));
    sum += bpf_htons(ETH_P_IPV6) + (__u16)~bpf_htons(ETH_P_IP);
  }
  const __u16 checksum = ~fold(sum);
  store16(udp + 6, checksum == 0 ? 0xffff : checksum); /* zero would mean none (RFC 8200 section 8.1) */
  return 1;
}

/* Identification of the next outer IPv4 header. Queues, and the engine's workers (which begin at multiples of 4096),
   count from places of their own: where the underlay fragments, fragments of two packets must not fit each other. */
static __always_inline __u16 outer_id(const struct run* run) {
  return (run->ctx->rx_queue_index << 12) + 0x800 + run->counters->forwarded_encapsulated;
}

/* Writes the packet, whose inner IP header is at `departure->at` now. False does not happen, but the verifier wants to
   see every bound. */
static __always_inline int write_packet(const struct run* run, const struct departure* departure,
                                        const struct isthmus_flow* flow, const struct inner* inner) {
  void* data = (void*)(long)run->ctx->data;
  const void* end = (const void*)(long)run->ctx->data_end;
  void* ip = data + departure->at;
  ONE_ADDRESS(ip);
  if (!rewrite(ip, end, flow, inner)) {
    return 0;
  }
  if (departure->at == OUTER_IPV4_BYTES) {
    return push_ipv4(data, end, departure, flow, inner, outer_id(run));
  }
  if (departure->at == OUTER_IPV6_BYTES) {
    return push_ipv6(data, end, departure, flow, inner);
  }
  if (data + ETH_HLEN + 2 > end) {
    return 0;
  }
  const __u32 version = load16(data + ETH_HLEN);
  const __u16 type = inner->key.family == ISTHMUS_IPV4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
  put_addresses(data, departure->hop, type | version << 16);
  return 1;
}

/* The engine links and unlinks entries meanwhile: what is reached is whole, and stays so until this run has ended. */
static __always_inline const struct isthmus_flow* find_entry(const struct isthmus_flow_key* key, __u32* number) {
  const __u64 ports = load64(&key->source_port);
  const __u64 chain = isthmus_flow_hash(key, ports, isthmus_constants.secret) >> isthmus_constants.chain_shift;
  const __u32 line = chain / ISTHMUS_CHAINS_IN_LINE;
  const struct isthmus_chains* chains = bpf_map_lookup_elem(&isthmus_chains, &line);
  if (!chains) {
    return 0;
  }
  *number = *(const volatile __u32*)&chains->first[chain % ISTHMUS_CHAINS_IN_LINE];
  for (int i = 0; i < ISTHMUS_LONGEST_CHAIN && *number != 0; i++) {
    const struct isthmus_entry* entry = bpf_map_lookup_elem(&isthmus_flows, number);
    if (!entry) {
      return 0;
    }
    const struct isthmus_flow_key* is = &entry->key;
    if (((is->head ^ key->head) | (load64(&is->source_port) ^ ports)) == 0 &&
        (key->family == ISTHMUS_IPV4 ||
         ((is->tail[0] ^ key->tail[0]) | (is->tail[1] ^ key->tail[1]) | (is->tail[2] ^ key->tail[2])) == 0)) {
      return &entry->flow;
    }
    *number = *(const volatile __u32*)&entry->next;
  }
  return 0;
}

/* Finds the decision for a packet. 0: there is none that holds. */
static __always_inline const struct isthmus_flow* find(const struct run* run, struct arrival* arrival,
                                                       struct inner* inner, struct isthmus_lease** lease) {
  void* data = (void*)(long)run->ctx->data;
  const void* end = (const void*)(long)run->ctx->data_end;
  if (data + ETH_HLEN + IPV4_BYTES + UDP_BYTES > end || !(run->config->flags & ISTHMUS_FORWARDS) || !for_us(run) ||
      !(queue_state(run) & ISTHMUS_QUEUE_FORWARDS)) {
    return 0;
  }
  arrival->length = arrival->available = end - data;
  if (!is_whole(run->ctx)) {
    return 0;
  }
  if ((run->config->flags & ISTHMUS_UNDERLAY) && !read_outer(run, data, end, arrival)) {
    return 0;
  }
  const void* ethernet = data + arrival->inner;
  ONE_ADDRESS(ethernet);
  if (!read_inner(ethernet, end, arrival->available, run->config->realm, inner)) {
    return 0;
  }
  __u32 number = 0;
  const struct isthmus_flow* flow = find_entry(&inner->key, &number);
  if (!flow) {
    return 0;
  }
  *lease = lease_of(flow, number);
  if (!*lease) {
    run->counters->flow_withdrawn++;
    return 0;
  }
  if (!origin_holds(run, data, end, flow, arrival, inner)) {
    run->counters->flow_unusual++;
    return 0;
  }
  return flow;
}

/* `decapsulated`: 1 or 0. */
static __always_inline void count(struct isthmus_steer_counters* counters, struct isthmus_lease* lease, __u32 bytes,
                                  int to_tunnel, int decapsulated) {
  __sync_fetch_and_add(&lease->packets, 1);
  __sync_fetch_and_add(&lease->bytes, bytes);
  counters->forwarded++;
  counters->forwarded_decapsulated += decapsulated;
  if (to_tunnel) {
    counters->forwarded_encapsulated++;
    counters->forwarded_fabric_bytes += bytes;
  } else {
    counters->forwarded_local_bytes += bytes;
  }
}

/* Returns the action, or UP with the frame as it was. */
static __always_inline int forward(const struct run* run) {
  struct arrival arrival = {};
  struct departure departure;
  struct inner inner;
  struct isthmus_lease* lease = 0;
  const struct isthmus_flow* flow = find(run, &arrival, &inner, &lease);
  if (!flow || !lease) {
    return UP;
  }
  if (!prepare(flow, &inner, &departure)) {
    run->counters->flow_unusual++;
    return UP;
  }
  const __u32 from = arrival.inner + ETH_HLEN;
  const int excess = arrival.length - from - inner.bytes; /* Ethernet padding, for one */
  const int missing = ETH_ZLEN - (int)(departure.at + inner.bytes);
  if (from != departure.at && bpf_xdp_adjust_head(run->ctx, (int)from - (int)departure.at) != 0) {
    run->counters->flow_unusual++; /* no room in front of it */
    return UP;
  }
  if (excess != 0 && bpf_xdp_adjust_tail(run->ctx, -excess) != 0) {
    return XDP_ABORTED; /* does not happen */
  }
  if (missing > 0) {
    bpf_xdp_adjust_tail(run->ctx, missing); /* with zeros; without room for them, the frame goes as it is */
  }
  if (!write_packet(run, &departure, flow, &inner)) {
    return XDP_ABORTED; /* does not happen */
  }
  count(run->counters, lease, inner.bytes, departure.tunnel != 0, arrival.inner != 0);
  return XDP_REDIRECT;
}

SEC("xdp")
int isthmus_forward(struct xdp_md* ctx) {
  const __u32 only = 0;
  const struct run run = {
      .ctx = ctx,
      .ethernet = (const void*)(long)ctx->data,
      .config = bpf_map_lookup_elem(&isthmus_config, &only),
      .counters = bpf_map_lookup_elem(&isthmus_count, &only),
  };
  if (!run.config || !run.counters) {
    return XDP_PASS; /* cannot happen: both are arrays of one entry */
  }
  const int action = forward(&run);
  return action == UP ? classify(ctx) : action;
}
