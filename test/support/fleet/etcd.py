"""Real etcd servers with mutual TLS, as Cilium's clustermesh-apiserver sets them up: users are certificate names,
readers have the role `remote` with its least grants."""

import json
import os
import shutil

from .shell import run, wait_until

CLIENT_PORT = 2379
READER = "remote"
GATEWAY = "gateway"  # may write where gateways register themselves


def openssl(*words, stdin=None):
    return run(["openssl", *words], stdin=stdin)


class Authority:
    """A certificate authority in a folder, and what it signs."""

    def __init__(self, folder, days=7):
        self.folder = folder
        self.days = days
        os.makedirs(folder, exist_ok=True)
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                str(days), "-subj", "/CN=ca", "-keyout", self.path("ca.key"), "-out", self.path("ca.crt"))

    def path(self, name):
        return os.path.join(self.folder, name)

    def sign(self, name, addresses=(), days=None):
        """A pair <name>.crt and <name>.key; with `addresses` one for a server."""
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
                "-keyout", self.path(f"{name}.key"), "-out", self.path(f"{name}.csr"))
        lines = ["extendedKeyUsage=" + ("serverAuth,clientAuth" if addresses else "clientAuth")]
        if addresses:
            lines.append("subjectAltName=" + ",".join(f"IP:{address}" for address in addresses))
        with open(self.path(f"{name}.ext"), "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")
        openssl("x509", "-req", "-in", self.path(f"{name}.csr"), "-CA", self.path("ca.crt"), "-CAkey",
                self.path("ca.key"), "-CAcreateserial", "-days", str(days or self.days), "-extfile",
                self.path(f"{name}.ext"), "-out", self.path(f"{name}.crt"))

    def client_config(self, url, name):
        """The text of an etcd client configuration, as Cilium's agents have them."""
        return f"""\
endpoints:
- {url}
trusted-ca-file: {self.path("ca.crt")}
cert-file: {self.path(name + ".crt")}
key-file: {self.path(name + ".key")}
"""


class Etcd:
    """The hub of one cluster: an etcd in the namespace of one of its nodes."""

    def __init__(self, cluster, space, address, authority, folder):
        self.cluster = cluster
        self.space = space
        self.address = address
        self.authority = authority
        self.data = os.path.join(folder, f"etcd-{cluster}")
        self.log = os.path.join(folder, "log", f"etcd-{cluster}.log")
        self.daemon = None
        self.runs = 0
        authority.sign(f"server-{cluster}", (address, "127.0.0.1"))

    @property
    def url(self):
        return f"https://{self.address}:{CLIENT_PORT}"

    def start(self, empty=False):
        """Starts it; `empty`: with nothing in it and another cluster id, as a hub's pod starts after a move."""
        if empty:
            shutil.rmtree(self.data, ignore_errors=True)
        fresh = not os.path.exists(self.data)
        self.runs += fresh
        pair = self.authority.path(f"server-{self.cluster}")
        peer = "http://127.0.0.1:2380"
        self.daemon = self.space.start(f"etcd-{self.cluster}", [
            "etcd", "--data-dir", self.data, "--name", "hub", "--log-level", "warn",
            "--listen-client-urls", f"https://{self.address}:{CLIENT_PORT},https://127.0.0.1:{CLIENT_PORT}",
            "--advertise-client-urls", self.url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"hub={peer}", "--initial-cluster-token", f"{self.cluster}-{self.runs}",
            "--client-cert-auth", "--trusted-ca-file", self.authority.path("ca.crt"),
            "--cert-file", pair + ".crt", "--key-file", pair + ".key"], self.log)
        wait_until(lambda: self.ctl("endpoint", "health", check=False).returncode == 0, timeout=30,
                   what=f"etcd of {self.cluster} answers")
        if fresh:
            self._grant()

    def _grant(self):
        """Users and the role of a remote reader, then authentication on."""
        for name in ("root", READER, GATEWAY):
            self.ctl("user", "add", name, "--no-password")
        self.ctl("role", "add", "root")
        self.ctl("user", "grant-role", "root", "root")
        self.ctl("role", "add", "remote")
        for first, last in ((f"cilium/synced/{self.cluster}/", f"cilium/synced/{self.cluster}0"),
                            ("cilium/state/", "cilium/state0"), ("cilium/.heartbeat", "cilium/.heartbeau"),
                            (f"cilium/cluster-config/{self.cluster}", None)):
            self.ctl("role", "grant-permission", "remote", "read", first, *([last] if last else []))
        self.ctl("user", "grant-role", READER, "remote")
        self.ctl("role", "add", GATEWAY)
        self.ctl("role", "grant-permission", GATEWAY, "readwrite", "cilium/state/isthmus/", "cilium/state/isthmus0")
        self.ctl("user", "grant-role", GATEWAY, GATEWAY)
        self.ctl("auth", "enable")

    def command(self, *words):
        """An etcdctl as root, to be run in its namespace."""
        return ["env", "ETCDCTL_API=3", "etcdctl", "--endpoints", f"https://127.0.0.1:{CLIENT_PORT}", "--cacert",
                self.authority.path("ca.crt"), "--cert", self.authority.path("root.crt"), "--key",
                self.authority.path("root.key"), *words]

    def ctl(self, *words, stdin=None, check=True):
        return self.space.run(self.command("--command-timeout", "5s", *words), stdin=stdin, check=check)

    def write(self, puts, deletes=()):
        """Puts keys with text, and deletes others, a hundred in one transaction."""
        lines = [f"del {json.dumps(key)}" for key in deletes]
        lines += [f"put {json.dumps(key)} {json.dumps(value)}" for key, value in puts.items()]
        for first in range(0, len(lines), 100):
            self.ctl("txn", stdin="\n" + "\n".join(lines[first:first + 100]) + "\n\n\n")

    def kill(self):
        self.daemon.kill()

    def stop(self):
        self.daemon.stop()
