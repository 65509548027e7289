// cyclonus-policy answers by Cyclonus which packets the NetworkPolicies of cluster east let through.
//
// Cases and answers are those of cilium/policy/case.go, one a line. Cyclonus knows one cluster and lets an ipBlock select
// pods. Both are Kubernetes' words for "not decided here": Isthmus follows Cilium, where a selector means the own cluster
// and a CIDR never selects a pod or node. So what is a pod or node is asked about under an address outside of all blocks, and
// without labels if it is of another cluster.
package main

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

const (
	ownCluster   = "east"
	outsideOfAll = "2001:db8::1"
	namespaceKey = "io.kubernetes.pod.namespace"
	metadata     = "io.cilium.k8s.namespace.labels."
)

type who struct {
	Cluster string            `json:"cluster"`
	Kind    string            `json:"kind"`
	Address string            `json:"address"`
	Labels  map[string]string `json:"labels"`
	TCP     map[string]int    `json:"tcp"`
	UDP     map[string]int    `json:"udp"`
}

type asked struct {
	Fleet    []who                         `json:"fleet"`
	Policies []*networkingv1.NetworkPolicy `json:"policies"`
	Packets  [][4]int                      `json:"packets"`
}

func (w *who) isOwn() bool { return w.Kind == "pod" && w.Cluster == ownCluster }

func (w *who) peer() *matcher.TrafficPeer {
	if !w.isOwn() {
		if w.Kind == "address" {
			return &matcher.TrafficPeer{IP: w.Address}
		}
		return &matcher.TrafficPeer{IP: outsideOfAll}
	}
	inner := &matcher.InternalPeer{Namespace: w.Labels[namespaceKey], PodLabels: map[string]string{},
		NamespaceLabels: map[string]string{}}
	for key, value := range w.Labels {
		if strings.HasPrefix(key, metadata) {
			inner.NamespaceLabels[strings.TrimPrefix(key, metadata)] = value
		} else {
			inner.PodLabels[key] = value
		}
	}
	return &matcher.TrafficPeer{IP: outsideOfAll, Internal: inner}
}

func (w *who) portName(protocol, port int) string {
	names := w.TCP
	if protocol == 17 {
		names = w.UDP
	}
	for name, number := range names {
		if number == port {
			return name
		}
	}
	return ""
}

// As the API server does.
func setDefaultTypes(policy *networkingv1.NetworkPolicy) {
	if len(policy.Spec.PolicyTypes) == 0 {
		policy.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(policy.Spec.Egress) > 0 {
			policy.Spec.PolicyTypes = append(policy.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
}

func answer(asked *asked) string {
	for _, policy := range asked.Policies {
		setDefaultTypes(policy)
	}
	policy := matcher.BuildNetworkPolicies(false, asked.Policies)
	protocols := map[int]corev1.Protocol{6: corev1.ProtocolTCP, 17: corev1.ProtocolUDP}
	verdicts := make([]byte, len(asked.Packets))
	for i, packet := range asked.Packets {
		from, to := &asked.Fleet[packet[0]], &asked.Fleet[packet[1]]
		traffic := &matcher.Traffic{Source: from.peer(), Destination: to.peer(), ResolvedPort: packet[3],
			ResolvedPortName: to.portName(packet[2], packet[3]), Protocol: protocols[packet[2]]}
		passes := (!from.isOwn() || policy.IsIngressOrEgressAllowed(traffic, false).IsAllowed()) &&
			(!to.isOwn() || policy.IsIngressOrEgressAllowed(traffic, true).IsAllowed())
		verdicts[i] = '0'
		if passes {
			verdicts[i] = '1'
		}
	}
	return string(verdicts)
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var question asked
		if err := json.Unmarshal(line, &question); err != nil {
			panic(err)
		}
		if err := out.Encode(map[string]string{"verdicts": answer(&question)}); err != nil {
			panic(err)
		}
	}
}
