"""An API server for custom resources (apiextensions-apiserver, Go) with its etcd, behind a proxy on a fixed port."""

import ctypes
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

import go_program

HERE = os.path.dirname(os.path.abspath(__file__))
OUR_KINDS = os.path.join(HERE, "..", "..", "packaging", "helm", "isthmus", "crds")
TIMEOUT = 60 * float(os.environ.get("ISTHMUS_TEST_PATIENCE", "1"))


def build(into, module="apiextensions", flags=()):
    """Builds the server from the Go module in folder `module`; skips the tests without Go, etcd or the modules."""
    for program in ("etcd", "etcdctl"):
        if not shutil.which(program):
            raise unittest.SkipTest(f"{program} is not installed")
    return go_program.build(into, module, module, flags=flags)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listen_in(netns, address, port):
    """A listening socket in that network namespace."""
    found = []

    def work():
        space = os.open(netns.path, os.O_RDONLY)
        if ctypes.CDLL(None, use_errno=True).setns(space, 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        os.close(space)
        found.append(socket.create_server((address, port)))
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


class Proxy:
    """A TCP proxy on a fixed loopback port to the current address of a server that restarts on other ports; or on a
    listening socket elsewhere."""

    def __init__(self, listener=None):
        self.target = None
        self.blocked = False
        self._listener = listener or socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
                if self.blocked:
                    client.close()
                    continue
                server = socket.create_connection(self.target)
            except OSError:
                if self._listener.fileno() < 0:
                    return
                client.close()
                continue
            self._open += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def _copy(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def block(self):
        """Closes all connections and refuses new ones until unblock()."""
        self.blocked = True
        for end in self._open:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def unblock(self):
        self.blocked = False

    def close(self):
        self._listener.close()
        for end in self._open:
            end.close()


class ApiServer:
    """etcd, the API server that uses it, and a kubeconfig that leads through the proxy."""

    def __init__(self, program):
        self.program = program
        self.folder = tempfile.mkdtemp(prefix="ist-interop-")
        self.proxy = Proxy()
        self.server = None
        client, peer = free_port(), free_port()
        self.etcd_url = f"http://127.0.0.1:{client}"
        self.etcd = subprocess.Popen(
            ["etcd", "--data-dir", os.path.join(self.folder, "etcd"), "--listen-client-urls", self.etcd_url,
             "--advertise-client-urls", self.etcd_url, "--listen-peer-urls", f"http://127.0.0.1:{peer}",
             "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
             "--initial-cluster", f"default=http://127.0.0.1:{peer}", "--log-level", "error"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self):
        """Starts or restarts the server, each time with a new port, certificate and token."""
        with open(os.path.join(self.folder, "server.log"), "ab") as log:
            self.access = self._launch(log)
        host = self.access["host"].removeprefix("https://")
        name, port = host.rsplit(":", 1)
        self.proxy.target = (name.strip("[]"), int(port))
        for file, text in (("ca.crt", self.access["ca"]), ("token", self.access["token"])):
            path = os.path.join(self.folder, file)
            with open(path + ".new", "w", encoding="utf-8") as out:
                out.write(text)
            os.rename(path + ".new", path)
        config = {"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                  "clusters": [{"name": "c", "cluster": {
                      "server": f"https://127.0.0.1:{self.proxy.port}", "certificate-authority": "ca.crt",
                      "tls-server-name": self.access["name"]}}],
                  "users": [{"name": "u", "user": {"tokenFile": "token"}}]}
        self.kubeconfig = os.path.join(self.folder, "config")
        with open(self.kubeconfig, "w", encoding="utf-8") as out:
            json.dump(config, out)

    def _launch(self, log):
        """Starts the program; returns its address and the credentials for it."""
        unused = os.path.join(self.folder, "unused-kubeconfig")
        with open(unused, "w", encoding="utf-8") as out:
            json.dump({"current-context": "c",
                       "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                       "clusters": [{"name": "c", "cluster": {"server": "http://127.1.2.3:12345"}}],
                       "users": [{"name": "u", "user": {}}]}, out)
        words = [self.program, "--etcd-servers", self.etcd_url, "--authentication-skip-lookup",
                 "--disable-admission-plugins",
                 "NamespaceLifecycle,MutatingAdmissionWebhook,ValidatingAdmissionWebhook,ValidatingAdmissionPolicy"]
        for flag in ("--authentication-kubeconfig", "--authorization-kubeconfig", "--kubeconfig"):
            words += [flag, unused]  # required by the flags, but never connected to
        self.server = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=log, text=True)
        line = self.server.stdout.readline()
        if not line:
            raise RuntimeError(open(os.path.join(self.folder, "server.log"), encoding="utf-8").read()[-2000:])
        return json.loads(line)

    def stop(self):
        self.server.kill()
        self.server.wait()
        for pipe in (self.server.stdin, self.server.stdout):
            if pipe is not None:
                pipe.close()

    def request(self, method, path, body=None, content_type="application/json"):
        """The response's JSON; None for 404. `body`: text, or what is written as JSON."""
        context = ssl.create_default_context()  # only the source under test has to verify
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        request = urllib.request.Request(
            self.access["host"] + path, method=method,
            data=body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.access['token']}", "Content-Type": content_type})
        try:
            with urllib.request.urlopen(request, context=context, timeout=20) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise RuntimeError(f"{method} {path}: {error.code} {error.read()[:500]}") from error

    def compact(self):
        """Compacts etcd, so that watches from older revisions fail."""
        words = ["etcdctl", "--endpoints", self.etcd_url]
        env = {**os.environ, "ETCDCTL_API": "3"}
        status = subprocess.run([*words, "endpoint", "status", "-w", "json"], env=env, check=True, capture_output=True)
        revision = json.loads(status.stdout)[0]["Status"]["header"]["revision"]
        subprocess.run([*words, "compact", str(revision)], env=env, check=True, capture_output=True)

    def install(self, group, version, kind, namespaced, plural=None):
        """Installs a custom resource without a schema, with a status subresource; waits until it is served."""
        plural = plural or kind.lower() + "s"
        anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        self.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{group}",
                         "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"}},
            "spec": {"group": group, "scope": "Namespaced" if namespaced else "Cluster",
                     "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": kind + "List"},
                     "versions": [{"name": version, "served": True, "storage": True, "subresources": {"status": {}},
                                   "schema": {"openAPIV3Schema": anything}}]}})
        wait_for(lambda: self.request("GET", f"/apis/{group}/{version}/{plural}") is not None, f"{plural} is served")

    def install_ours(self):
        """Installs our own kinds as packaging/helm/isthmus has them; waits until they are served."""
        for name in sorted(os.listdir(OUR_KINDS)):
            with open(os.path.join(OUR_KINDS, name), encoding="utf-8") as file:
                self.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", file.read(),
                             "application/yaml")
            plural = name.removesuffix(".yaml")
            wait_for(lambda plural=plural: self.request("GET", f"/apis/isthmus.io/v1alpha1/{plural}") is not None,
                     f"{plural} is served")

    def close(self):
        if self.server and self.server.poll() is None:
            self.stop()
        self.etcd.kill()
        self.etcd.wait()
        self.proxy.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def wait_for(condition, what):
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what}: timed out after {TIMEOUT:g} s")
