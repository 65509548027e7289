"""Real etcd servers with mutual TLS, as Cilium's clustermesh-apiserver sets them up: users are certificate names,
readers have the role `remote`, limited to the prefixes that a reader needs."""

import json
import os
import shutil

from .shell import run, wait_until

CLIENT_PORT = 2379
READER = "remote"
GATEWAY = "gateway"  # may write the prefix under which gateways register


def openssl(*words, stdin=None):
    return run(["openssl", *words], stdin=stdin)


class Authority:
    """A certificate authority and the certificates it has signed, in one folder."""

    def __init__(self, folder, days=7):
        self.folder = folder
        self.days = days
        os.makedirs(folder, exist_ok=True)
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
                str(days), "-subj", "/CN=ca", "-keyout", self.path("ca.key"), "-out", self.path("ca.crt"))

    def path(self, name):
        return os.path.join(self.folder, name)

    def sign(self, name, addresses=(), days=None):
        """Writes <name>.crt and <name>.key; with `addresses`, a server certificate for them."""
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
        """An etcd client configuration in the format of Cilium's agents."""
        return f"""\
endpoints:
- {url}
trusted-ca-file: {self.path("ca.crt")}
cert-file: {self.path(name + ".crt")}
key-file: {self.path(name + ".key")}
"""


class Etcd:
    """The hub of one cluster: an etcd in the network namespace of one of its nodes."""

    def __init__(self, cluster, netns, address, authority, folder):
        self.cluster = cluster
        self.netns = netns
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
        """Starts etcd; `empty`: without data and with a new cluster id, as after the hub's pod was rescheduled."""
        if empty:
            shutil.rmtree(self.data, ignore_errors=True)
        fresh = not os.path.exists(self.data)
        self.runs += fresh
        pair = self.authority.path(f"server-{self.cluster}")
        peer = "http://127.0.0.1:2380"
        self.daemon = self.netns.start(f"etcd-{self.cluster}", [
            "etcd", "--data-dir", self.data, "--name", "hub", "--log-level", "warn",
            "--listen-client-urls", f"https://{self.address}:{CLIENT_PORT},https://127.0.0.1:{CLIENT_PORT}",
            "--advertise-client-urls", self.url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"hub={peer}", "--initial-cluster-token", f"{self.cluster}-{self.runs}",
            "--client-cert-auth", "--trusted-ca-file", self.authority.path("ca.crt"),
            "--cert-file", pair + ".crt", "--key-file", pair + ".key"], self.log)
        wait_until(lambda: self.ctl("endpoint", "health", check=False).returncode == 0, timeout=30,
                   what=f"etcd of {self.cluster} is healthy")
        if fresh:
            self._grant()

    def _grant(self):
        """Creates the users and roles, then enables authentication."""
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
        """An etcdctl command line as root, to run in the network namespace of this etcd."""
        return ["env", "ETCDCTL_API=3", "etcdctl", "--endpoints", f"https://127.0.0.1:{CLIENT_PORT}", "--cacert",
                self.authority.path("ca.crt"), "--cert", self.authority.path("root.crt"), "--key",
                self.authority.path("root.key"), *words]

    def ctl(self, *words, stdin=None, check=True):
        return self.netns.run(self.command("--command-timeout", "5s", *words), stdin=stdin, check=check)

    def write(self, puts, deletes=()):
        """Puts the keys of `puts` and deletes those of `deletes`, up to 100 operations in a transaction."""
        lines = [f"del {json.dumps(key)}" for key in deletes]
        lines += [f"put {json.dumps(key)} {json.dumps(value)}" for key, value in puts.items()]
        for first in range(0, len(lines), 100):
            self.ctl("txn", stdin="\n" + "\n".join(lines[first:first + 100]) + "\n\n\n")

    def kill(self):
        self.daemon.kill()

    def stop(self):
        self.daemon.stop()
