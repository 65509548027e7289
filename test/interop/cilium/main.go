// cilium-publisher publishes one cluster in a ClusterMesh etcd with Cilium's own types, store and etcd client, as
// Cilium's clustermesh-apiserver does.
//
//	cilium-publisher ETCD-CONFIG < commands
//
// Each line of standard input is a JSON command, answered by one line: "ok" or the error. "synced" is answered once
// every earlier write is acknowledged and the synced keys are written.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/cilium/cilium/pkg/cidr"
	"github.com/cilium/cilium/pkg/clustermesh/clustercfg"
	mcsapi "github.com/cilium/cilium/pkg/clustermesh/mcsapi/types"
	services "github.com/cilium/cilium/pkg/clustermesh/store"
	cmtypes "github.com/cilium/cilium/pkg/clustermesh/types"
	"github.com/cilium/cilium/pkg/identity"
	"github.com/cilium/cilium/pkg/kvstore"
	"github.com/cilium/cilium/pkg/kvstore/store"
	"github.com/cilium/cilium/pkg/labels"
	"github.com/cilium/cilium/pkg/loadbalancer"
	"github.com/cilium/cilium/pkg/node/addressing"
	nodetypes "github.com/cilium/cilium/pkg/node/types"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	mcsv1alpha1 "sigs.k8s.io/mcs-api/pkg/apis/v1alpha1"
)

const timeout = 30 * time.Second

type port struct {
	Protocol string
	Number   uint16
}

// A command. Op determines which of the other fields are used.
type command struct {
	Op        string // cluster, node, identity, address, service, export, synced; delete-address, delete-service
	Name      string
	Namespace string
	ID        uint32
	Address   string
	Host      string
	Pod       string
	PodCIDRs  []string
	Labels    map[string]string
	Frontends map[string]map[string]port
	Backends  map[string]map[string]port
	Hostnames map[string]string
	Created   time.Time
}

type publisher struct {
	ctx     context.Context
	client  kvstore.BackendOperations
	cluster string
	id      uint32
	nodes, identities, addresses, services,
	exports store.SyncStore
}

func connect(ctx context.Context, config string) (kvstore.BackendOperations, error) {
	client, failed := kvstore.NewClient(ctx, slog.New(slog.NewTextHandler(os.Stderr, nil)), kvstore.EtcdBackendName,
		map[string]string{kvstore.EtcdOptionConfig: config},
		kvstore.ExtraOptions{NoLockQuorumCheck: true, NoEndpointStatusChecks: true, ClusterName: "interop"})
	select {
	case err, open := <-failed:
		if open && err != nil {
			return nil, err
		}
		return client, nil
	case <-time.After(timeout):
		return nil, errors.New("etcd does not answer")
	}
}

// Publishes the cluster configuration and starts the stores, with Cilium's prefixes and synced keys.
func (p *publisher) begin(c command) error {
	p.cluster, p.id = c.Name, c.ID
	exports := true
	config := cmtypes.CiliumClusterConfig{ID: c.ID, Capabilities: cmtypes.CiliumClusterConfigCapabilities{
		SyncedCanaries: true, MaxConnectedClusters: 255, ServiceExportsEnabled: &exports}}
	if err := clustercfg.Set(p.ctx, c.Name, config, p.client); err != nil {
		return err
	}
	factory := store.NewFactory(slog.New(slog.NewTextHandler(os.Stderr, nil)), store.MetricsProvider())
	begin := func(prefix string, options ...store.WSSOpt) store.SyncStore {
		created := factory.NewSyncStore(c.Name, p.client, prefix, options...)
		go created.Run(p.ctx)
		return created
	}
	p.nodes = begin("cilium/state/nodes/v1")
	p.identities = begin("cilium/state/identities/v1/id", store.WSSWithSyncedKeyOverride("cilium/state/identities/v1"))
	p.addresses = begin("cilium/state/ip/v1/default", store.WSSWithSyncedKeyOverride("cilium/state/ip/v1"))
	p.services = begin(services.ServiceStorePrefix)
	p.exports = begin(mcsapi.ServiceExportStorePrefix)
	return p.client.Update(p.ctx, kvstore.HeartbeatPath, []byte(time.Now().Format(time.RFC3339)), true)
}

func (p *publisher) node(c command) error {
	node := nodetypes.Node{Name: c.Name, Cluster: p.cluster, ClusterID: p.id,
		IPAddresses: []nodetypes.Address{{Type: addressing.NodeInternalIP, IP: net.ParseIP(c.Address)}}}
	for _, text := range c.PodCIDRs {
		block, err := cidr.ParseCIDR(text)
		if err != nil {
			return err
		}
		if block.IP.To4() != nil {
			node.IPv4AllocCIDR = block
		} else {
			node.IPv6AllocCIDR = block
		}
	}
	return p.nodes.UpsertKey(p.ctx, &node)
}

func (p *publisher) identity(c command) error {
	set := labels.Map2Labels(c.Labels, labels.LabelSourceK8s)
	return p.identities.UpsertKey(p.ctx, store.NewKVPair(fmt.Sprint(c.ID), string(set.SortedList())))
}

func (p *publisher) address(c command) error {
	return p.addresses.UpsertKey(p.ctx, &identity.IPIdentityPair{IP: net.ParseIP(c.Address), HostIP: net.ParseIP(c.Host),
		ID: identity.NumericIdentity(c.ID), K8sNamespace: c.Namespace, K8sPodName: c.Pod})
}

func configurations(side map[string]map[string]port) map[string]services.PortConfiguration {
	configured := map[string]services.PortConfiguration{}
	for address, ports := range side {
		configured[address] = services.PortConfiguration{}
		for name, port := range ports {
			configured[address][name] = &loadbalancer.L4Addr{Protocol: port.Protocol, Port: port.Number}
		}
	}
	return configured
}

func (p *publisher) service(c command) error {
	service := services.NewClusterService(c.Name, c.Namespace)
	service.Cluster, service.ClusterID = p.cluster, p.id
	service.Frontends, service.Backends = configurations(c.Frontends), configurations(c.Backends)
	service.Hostnames = c.Hostnames
	service.Labels = c.Labels
	service.IncludeExternal, service.Shared = true, true
	return p.services.UpsertKey(p.ctx, &service)
}

func (p *publisher) export(c command) error {
	return p.exports.UpsertKey(p.ctx, &mcsapi.MCSAPIServiceSpec{Cluster: p.cluster, Namespace: c.Namespace, Name: c.Name,
		ExportCreationTimestamp: metav1.NewTime(c.Created), Type: mcsv1alpha1.ClusterSetIP, SessionAffinity: "None",
		Ports: []mcsv1alpha1.ServicePort{{Name: "http", Protocol: "TCP", Port: 80}}})
}

func (p *publisher) synced() error {
	waiting := sets.New("nodes", "identities", "addresses", "services", "exports")
	done := make(chan string, waiting.Len())
	for name, one := range map[string]store.SyncStore{"nodes": p.nodes, "identities": p.identities,
		"addresses": p.addresses, "services": p.services, "exports": p.exports} {
		if err := one.Synced(p.ctx, func(context.Context) { done <- name }); err != nil {
			return err
		}
	}
	for waiting.Len() > 0 {
		select {
		case name := <-done:
			waiting.Delete(name)
		case <-time.After(timeout):
			return fmt.Errorf("timed out waiting for: %v", sets.List(waiting))
		}
	}
	return nil
}

func (p *publisher) run(c command) error {
	if c.Op != "cluster" && p.nodes == nil {
		return errors.New("the first command must be \"cluster\"")
	}
	switch c.Op {
	case "cluster":
		return p.begin(c)
	case "node":
		return p.node(c)
	case "identity":
		return p.identity(c)
	case "address":
		return p.address(c)
	case "service":
		return p.service(c)
	case "export":
		return p.export(c)
	case "synced":
		return p.synced()
	case "delete-address":
		return p.addresses.DeleteKey(p.ctx, &identity.IPIdentityPair{IP: net.ParseIP(c.Address)})
	case "delete-service":
		return p.services.DeleteKey(p.ctx, &services.ClusterService{Cluster: p.cluster, Namespace: c.Namespace, Name: c.Name})
	}
	return fmt.Errorf("unknown command %q", c.Op)
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: cilium-publisher ETCD-CONFIG < commands")
		os.Exit(2)
	}
	ctx := context.Background()
	client, err := connect(ctx, os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "cilium-publisher:", err)
		os.Exit(1)
	}
	p := publisher{ctx: ctx, client: client}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c command
		err := json.Unmarshal(lines.Bytes(), &c)
		if err == nil {
			err = p.run(c)
		}
		if err != nil {
			fmt.Println(err)
		} else {
			fmt.Println("ok")
		}
	}
}
