// An API server that serves custom resources, for tests: apiextensions-apiserver on an etcd that runs already, with
// nobody to ask who a client is. Prints where it listens as one line of JSON and ends with its standard input.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	servertesting "k8s.io/apiextensions-apiserver/pkg/cmd/server/testing"
	"k8s.io/apiserver/pkg/storage/storagebackend"
)

type toStandardError struct{}

func (toStandardError) Helper()                           {}
func (toStandardError) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (toStandardError) Logf(format string, args ...any)   { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (toStandardError) Fatalf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

func main() {
	storage := storagebackend.NewDefaultConfig("/registry/interop", nil)
	storage.Transport.ServerList = []string{os.Args[1]}
	server, err := servertesting.StartTestServer(toStandardError{}, nil, os.Args[2:], storage)
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
