package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"sort"

	"github.com/cilium/cilium/pkg/endpoint/regeneration"
	"github.com/cilium/cilium/pkg/identity"
	"github.com/cilium/cilium/pkg/identity/identitymanager"
	"github.com/cilium/cilium/pkg/k8s"
	v2 "github.com/cilium/cilium/pkg/k8s/apis/cilium.io/v2"
	slim "github.com/cilium/cilium/pkg/k8s/slim/k8s/api/networking/v1"
	"github.com/cilium/cilium/pkg/k8s/utils"
	"github.com/cilium/cilium/pkg/labels"
	"github.com/cilium/cilium/pkg/policy"
	"github.com/cilium/cilium/pkg/policy/api"
	"github.com/cilium/cilium/pkg/policy/types"
	policyutils "github.com/cilium/cilium/pkg/policy/utils"
	"github.com/cilium/cilium/pkg/spanstat"
	testpolicy "github.com/cilium/cilium/pkg/testutils/policy"
	"github.com/cilium/cilium/pkg/u8proto"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
)

func parse(logger *slog.Logger, text []byte) (types.PolicyEntries, error) {
	var kind v1.TypeMeta
	if err := json.Unmarshal(text, &kind); err != nil {
		return nil, err
	}
	if kind.Kind == "NetworkPolicy" {
		var object slim.NetworkPolicy
		if err := json.Unmarshal(text, &object); err != nil {
			return nil, err
		}
		return k8s.ParseNetworkPolicy(logger, ownCluster, &object)
	}
	var object v2.CiliumNetworkPolicy // a clusterwide policy has no namespace
	if err := json.Unmarshal(text, &object); err != nil {
		return nil, err
	}
	rules, err := object.Parse(logger, ownCluster)
	return policyutils.RulesToPolicyEntries(rules), err
}

// What the agent's ipcache has for a prefix; see cidrsAndLabelsForCIDRGroup in pkg/policy/k8s.
func groupLabels(group *v2.CiliumCIDRGroup) labels.Labels {
	out := labels.Labels{}
	for key, value := range utils.RemoveCiliumLabels(group.Labels) {
		label := labels.NewLabel(key, value, labels.LabelSourceCIDRGroup)
		out[label.Key] = label
		encoded := labels.EncodedCIDRGroupLabel(label.Key, label.Value, label.Source)
		out[encoded.Key] = encoded
	}
	name := api.LabelForCIDRGroupRef(group.Name)
	out[name.Key] = name
	return out
}

type prefixLabels struct {
	prefix netip.Prefix
	labels labels.Labels
}

// The labels of an address that is no endpoint: those of the prefixes around it, from the longest to the shortest, of
// which the first with a "cidr" label gives that (mergeParentLabels in pkg/ipcache). Every address lies in a cluster,
// and so has its label and is not of the world.
func addressLabels(who *Who, known []prefixLabels) labels.LabelArray {
	out := labels.Labels{}
	address := netip.MustParseAddr(who.Address)
	cidr := false
	for _, each := range known {
		if !each.prefix.Contains(address) {
			continue
		}
		for key, label := range each.labels {
			if _, there := out[key]; there || label.Source == labels.LabelSourceCIDR && cidr {
				continue
			}
			out[key] = label
		}
		cidr = cidr || out.HasSource(labels.LabelSourceCIDR)
	}
	out.AddWorldLabel(address)
	cluster := labels.NewLabel("io.cilium.k8s.policy.cluster", who.Cluster, labels.LabelSourceK8s)
	out[cluster.Key] = cluster
	return out.LabelArray()
}

func labelsOf(who *Who, known []prefixLabels) labels.LabelArray {
	switch {
	case who.Kind == "node" && who.Cluster == ownCluster:
		return labels.LabelArray{labels.NewLabel(labels.IDNameHost, "", labels.LabelSourceReserved)}
	case who.Kind == "node":
		return labels.LabelArray{labels.NewLabel(labels.IDNameRemoteNode, "", labels.LabelSourceReserved)}
	case who.Kind == "address":
		return addressLabels(who, known)
	}
	out := labels.Labels{}
	for key, value := range who.Labels {
		out[key] = labels.NewLabel(key, value, labels.LabelSourceK8s)
	}
	return out.LabelArray()
}

func knownPrefixes(entries types.PolicyEntries, groups []json.RawMessage) []prefixLabels {
	found := map[netip.Prefix]labels.Labels{}
	add := func(prefix netip.Prefix, with labels.Labels) {
		prefix = prefix.Masked()
		if found[prefix] == nil {
			found[prefix] = labels.Labels{}
		}
		for key, label := range with {
			found[prefix][key] = label
		}
	}
	for _, entry := range entries {
		for _, selector := range entry.L3 {
			for _, prefix := range selector.GetCIDRPrefixes() {
				add(prefix, labels.GetCIDRLabels(prefix))
			}
		}
	}
	for _, text := range groups {
		var group v2.CiliumCIDRGroup
		if err := json.Unmarshal(text, &group); err != nil {
			panic(err)
		}
		for _, each := range group.Spec.ExternalCIDRs {
			add(netip.MustParsePrefix(string(each)), groupLabels(&group))
		}
	}
	var out []prefixLabels
	for prefix, with := range found {
		out = append(out, prefixLabels{prefix, with})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].prefix.Bits() > out[j].prefix.Bits() })
	return out
}

// A pod as the owner of a policy, for packets with one peer: a named port of an egress rule is that peer's.
type owner struct {
	self, peer *Who
}

func (o owner) GetID() uint64                      { return uint64(o.self.Identity) }
func (o owner) PolicyDebug(string, ...any)         {}
func (o owner) IsHost() bool                       { return false }
func (o owner) PreviousMapState() *policy.MapState { return nil }
func (o owner) GetNamedPort(ingress bool, name string, proto u8proto.U8proto) uint16 {
	who := o.self
	if !ingress {
		who = o.peer
	}
	if proto == u8proto.UDP {
		return who.UDP[name]
	}
	if proto == u8proto.TCP {
		return who.TCP[name]
	}
	return 0
}
func (o owner) RegenerateIfAlive(*regeneration.ExternalRegenerationMetadata) <-chan bool {
	done := make(chan bool)
	close(done)
	return done
}

type statistics struct{ waiting, calculation spanstat.SpanStat }

func (s *statistics) WaitingForPolicyRepository() *spanstat.SpanStat { return &s.waiting }
func (s *statistics) SelectorPolicyCalculation() *spanstat.SpanStat  { return &s.calculation }

// The policies of one case over its fleet. An identity number here is the index in the fleet, past the reserved ones.
type repository struct {
	logger     *slog.Logger
	repo       *policy.Repository
	fleet      []Who
	identities []*identity.Identity
	distilled  map[string]*policy.EndpointPolicy
}

func newRepository(logger *slog.Logger, asked *Case, entries types.PolicyEntries) *repository {
	known := knownPrefixes(entries, asked.Groups)
	manager := identitymanager.NewIDManager(logger)
	all := identity.IdentityMap{}
	out := &repository{logger: logger, fleet: asked.Fleet, distilled: map[string]*policy.EndpointPolicy{}}
	for i := range asked.Fleet {
		array := labelsOf(&asked.Fleet[i], known)
		number := identity.NumericIdentity(1000 + i)
		all[number] = array
		out.identities = append(out.identities, identity.NewIdentityFromLabelArray(number, array))
	}
	out.repo = policy.NewPolicyRepository(logger, all, nil, nil, manager, testpolicy.NewPolicyMetricsNoop())
	for i := range asked.Fleet {
		if asked.Fleet[i].Kind == "pod" && asked.Fleet[i].Cluster == ownCluster {
			manager.Add(out.identities[i])
		}
	}
	out.repo.MustAddPolicyEntries(entries)
	return out
}

func (r *repository) passes(ingress bool, subject, peer int, protocol, port int) bool {
	self := owner{&r.fleet[subject], &r.fleet[peer]}
	key := fmt.Sprint(subject, " ", self.peer.TCP, self.peer.UDP)
	distilled := r.distilled[key]
	if distilled == nil {
		selected, _, err := r.repo.GetSelectorPolicy(r.identities[subject], 0, &statistics{}, uint64(subject))
		if err != nil {
			panic(err)
		}
		distilled = selected.DistillPolicy(r.logger, self, nil)
		distilled.Ready()
		distilled.Detach(r.logger)
		r.distilled[key] = distilled
	}
	direction := policy.EgressKey()
	if ingress {
		direction = policy.IngressKey()
	}
	packet := direction.WithIdentity(r.identities[peer].ID).WithPortProto(u8proto.U8proto(protocol), uint16(port))
	entry, _, _ := distilled.Lookup(packet)
	return !entry.IsDeny()
}

func answer(logger *slog.Logger, asked *Case) (out Answer) {
	defer func() {
		if fault := recover(); fault != nil {
			out.Fault = fmt.Sprint(fault, "\n", string(debug.Stack()))
		}
	}()
	out.Refused = map[int]string{}
	var entries types.PolicyEntries
	for i, text := range asked.Policies {
		parsed, err := parse(logger, text)
		if err != nil {
			out.Refused[i] = err.Error()
			continue
		}
		entries = append(entries, parsed...)
	}
	repo := newRepository(logger, asked, entries)
	isOwn := func(at int) bool { return asked.Fleet[at].Kind == "pod" && asked.Fleet[at].Cluster == ownCluster }
	verdicts := make([]byte, len(asked.Packets))
	for i, packet := range asked.Packets {
		from, to := packet[0], packet[1]
		passes := (!isOwn(from) || repo.passes(false, from, to, packet[2], packet[3])) &&
			(!isOwn(to) || repo.passes(true, to, from, packet[2], packet[3]))
		verdicts[i] = '0'
		if passes {
			verdicts[i] = '1'
		}
	}
	out.Verdicts = string(verdicts)
	return out
}
