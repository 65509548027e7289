// cilium-policy answers by Cilium's own policy code which packets the policies of cluster east let through.
//
// One case a line on standard input (case.go), one answer a line on standard output.
package main

import (
	"bufio"
	"encoding/json"
	"log/slog"
	"os"

	"github.com/cilium/cilium/pkg/option"
	"github.com/cilium/cilium/pkg/policy"
	"github.com/cilium/cilium/pkg/policy/api"
)

func main() {
	option.Config.EnableIPv4 = true
	option.Config.EnableIPv6 = false
	policy.SetPolicyEnabled(option.DefaultEnforcement)
	api.InitEntities(ownCluster)
	logger := slog.New(slog.DiscardHandler)
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var asked Case
		if err := json.Unmarshal(line, &asked); err != nil {
			panic(err)
		}
		if err := out.Encode(answer(logger, &asked)); err != nil {
			panic(err)
		}
	}
}
