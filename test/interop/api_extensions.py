"""A real API server of custom resources (apiextensions-apiserver, Go) on a real etcd, and a door that stays."""

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
PATIENCE = 60


def build(into, module="apiextensions"):
    """The server's program, of the Go module in that folder; skips where Go, etcd or the modules are missing."""
    for program in ("etcd", "etcdctl"):
        if not shutil.which(program):
            raise unittest.SkipTest(f"{program} is not installed")
    return go_program.build(into, module, module)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Door:
    """A port of the loopback that leads to whatever server there is."""

    def __init__(self):
        self.target = None
        self.shut = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
                if self.shut:
                    near.close()
                    continue
                far = socket.create_connection(self.target)
            except OSError:
                if self._listener.fileno() < 0:
                    return
                near.close()
                continue
            self._open += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    @staticmethod
    def _copy(one, other):
        try:
            while data := one.recv(65536):
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def shut_off(self):
        """Nobody comes through until `shut` is cleared."""
        self.shut = True
        for end in self._open:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self._listener.close()
        for end in self._open:
            end.close()


class ApiServer:
    """etcd, the server on it, a kubeconfig through the door."""

    def __init__(self, program):
        self.program = program
        self.folder = tempfile.mkdtemp(prefix="ist-interop-")
        self.door = Door()
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
        """Starts the server (again): with another port, certificate and token than before."""
        with open(os.path.join(self.folder, "server.log"), "ab") as log:
            self.access = self._launch(log)
        host = self.access["host"].removeprefix("https://")
        name, port = host.rsplit(":", 1)
        self.door.target = (name.strip("[]"), int(port))
        for file, text in (("ca.crt", self.access["ca"]), ("token", self.access["token"])):
            path = os.path.join(self.folder, file)
            with open(path + ".new", "w", encoding="utf-8") as out:
                out.write(text)
            os.rename(path + ".new", path)
        config = {"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                  "clusters": [{"name": "c", "cluster": {
                      "server": f"https://127.0.0.1:{self.door.port}", "certificate-authority": "ca.crt",
                      "tls-server-name": self.access["name"]}}],
                  "users": [{"name": "u", "user": {"tokenFile": "token"}}]}
        self.kubeconfig = os.path.join(self.folder, "config")
        with open(self.kubeconfig, "w", encoding="utf-8") as out:
            json.dump(config, out)

    def _launch(self, log):
        """Starts the program: where it listens and what a client of it needs."""
        nobody = os.path.join(self.folder, "nobody")
        with open(nobody, "w", encoding="utf-8") as out:
            json.dump({"current-context": "c",
                       "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                       "clusters": [{"name": "c", "cluster": {"server": "http://127.1.2.3:12345"}}],
                       "users": [{"name": "u", "user": {}}]}, out)
        words = [self.program, "--etcd-servers", self.etcd_url, "--authentication-skip-lookup",
                 "--disable-admission-plugins",
                 "NamespaceLifecycle,MutatingAdmissionWebhook,ValidatingAdmissionWebhook,ValidatingAdmissionPolicy"]
        for flag in ("--authentication-kubeconfig", "--authorization-kubeconfig", "--kubeconfig"):
            words += [flag, nobody]  # the cluster that would know clients and namespaces: never asked
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
        """The answer's JSON; None for 404 and while nothing answers."""
        context = ssl.create_default_context()  # the source under test is who verifies
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        request = urllib.request.Request(
            self.access["host"] + path, method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.access['token']}", "Content-Type": content_type})
        try:
            with urllib.request.urlopen(request, context=context, timeout=20) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise RuntimeError(f"{method} {path}: {error.code} {error.read()[:500]}") from error

    def compact(self):
        """Drops etcd's history."""
        words = ["etcdctl", "--endpoints", self.etcd_url]
        env = {**os.environ, "ETCDCTL_API": "3"}
        status = subprocess.run([*words, "endpoint", "status", "-w", "json"], env=env, check=True, capture_output=True)
        revision = json.loads(status.stdout)[0]["Status"]["header"]["revision"]
        subprocess.run([*words, "compact", str(revision)], env=env, check=True, capture_output=True)

    def install(self, group, version, kind, namespaced, plural=None):
        """A custom resource of any shape, with a status of its own; waits until it is served."""
        plural = plural or kind.lower() + "s"
        anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        self.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{group}"},
            "spec": {"group": group, "scope": "Namespaced" if namespaced else "Cluster",
                     "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": kind + "List"},
                     "versions": [{"name": version, "served": True, "storage": True, "subresources": {"status": {}},
                                   "schema": {"openAPIV3Schema": anything}}]}})
        wait_for(lambda: self.request("GET", f"/apis/{group}/{version}/{plural}") is not None, f"{plural} is served")

    def close(self):
        if self.server and self.server.poll() is None:
            self.stop()
        self.etcd.kill()
        self.etcd.wait()
        self.door.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def wait_for(condition, what):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"not within {PATIENCE} s: {what}")
