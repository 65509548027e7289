// An API server for custom resources, for tests: apiextensions-apiserver without delegated authentication, on an
// existing etcd. Takes apiextensions-apiserver's flags. Prints its address and credentials as one line of JSON, and
// exits at end of file on standard input.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	servertesting "k8s.io/apiextensions-apiserver/pkg/cmd/server/testing"
)

type toStandardError struct{}

func (toStandardError) Helper() {}
func (toStandardError) Errorf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
func (toStandardError) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (toStandardError) Fatalf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

func main() {
	server, err := servertesting.StartTestServer(toStandardError{}, nil, os.Args[1:], nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer server.TearDownFn()
	config := server.ClientConfig
	_ = json.NewEncoder(os.Stdout).Encode(map[string]string{
		"host": config.Host, "token": config.BearerToken, "ca": string(config.CAData), "name": config.ServerName})
	_, _ = io.Copy(io.Discard, os.Stdin)
}
