package main

import "encoding/json"

const ownCluster = "east"

// One address of the fleet. An address that is neither pod nor node has no labels.
type Who struct {
	Cluster  string            `json:"cluster"`
	Kind     string            `json:"kind"` // "pod", "node" or "address"
	Address  string            `json:"address"`
	Identity uint32            `json:"identity"`
	Labels   map[string]string `json:"labels"` // as a CiliumIdentity has them, without "k8s:"
	TCP      map[string]uint16 `json:"tcp"`    // named ports
	UDP      map[string]uint16 `json:"udp"`
}

// A packet: indexes of `fleet`, the IP protocol, and the destination port or ICMP type.
type Packet [4]int

type Case struct {
	Fleet    []Who             `json:"fleet"`
	Policies []json.RawMessage `json:"policies"`
	Groups   []json.RawMessage `json:"groups"`
	Packets  []Packet          `json:"packets"`
}

// Verdicts: "1" or "0" for each packet. Refused: for each policy that the parser refuses, why; the others stand. Fault: Cilium's code
// panicked, and nothing else is set.
type Answer struct {
	Verdicts string         `json:"verdicts"`
	Refused  map[int]string `json:"refused"`
	Fault    string         `json:"fault,omitempty"`
}
