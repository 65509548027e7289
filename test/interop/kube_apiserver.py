"""Kubernetes' API server (kube-apiserver, Go) with its etcd, behind a proxy on a fixed port."""

import os
import secrets
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request

import api_extensions

# The version that it says, by which clients decide; of a module, none is built in.
VERSION = "v1.34.1"
FLAGS = " ".join(f"-X k8s.io/component-base/version.git{part}={text}"
                 for part, text in (("Version", VERSION), ("Major", "1"), ("Minor", "34")))


def build(into):
    """Builds the server; skips the tests without Go, etcd or the modules."""
    return api_extensions.build(into, "kube-apiserver", [f"-ldflags={FLAGS}"])


class KubeApiServer(api_extensions.ApiServer):
    """An ApiServer with Kubernetes' built-in kinds; no scheduler and no controllers run."""

    def _launch(self, log):
        certificates = os.path.join(self.folder, "certificates")
        shutil.rmtree(certificates, ignore_errors=True)
        os.makedirs(certificates)
        account = os.path.join(self.folder, "account.key")
        if not os.path.exists(account):
            subprocess.run(["openssl", "genrsa", "-out", account, "2048"], check=True, capture_output=True)
        token = secrets.token_hex(16)
        with open(os.path.join(certificates, "tokens.csv"), "w", encoding="ascii") as file:
            file.write(f"{token},admin,1,system:masters\n")
        port = api_extensions.free_port()
        self.server = subprocess.Popen(
            [self.program, "--etcd-servers", self.etcd_url, "--bind-address", "127.0.0.1", "--secure-port", str(port),
             "--advertise-address", "192.0.2.1",  # else it looks for a default route, which a machine may not have
             "--cert-dir", certificates, "--token-auth-file", os.path.join(certificates, "tokens.csv"),
             "--authorization-mode", "RBAC", "--allow-privileged", "--service-cluster-ip-range", "10.96.0.0/24",
             "--service-account-issuer", "https://interop", "--service-account-key-file", account,
             "--service-account-signing-key-file", account, "--disable-admission-plugins", "ServiceAccount",
             *self._flags()],
            stdout=log, stderr=log)
        self.access = {"host": f"https://127.0.0.1:{port}", "token": token, "name": "127.0.0.1"}
        api_extensions.wait_for(self._ready, "the API server is ready")
        with open(os.path.join(certificates, "apiserver.crt"), encoding="ascii") as file:
            return {**self.access, "ca": file.read()}

    def _flags(self):
        """More of the server's."""
        return []

    def _ready(self):
        if self.server.poll() is not None:
            raise RuntimeError(open(os.path.join(self.folder, "server.log"), encoding="utf-8").read()[-2000:])
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        request = urllib.request.Request(self.access["host"] + "/readyz",
                                         headers={"Authorization": f"Bearer {self.access['token']}"})
        try:
            with urllib.request.urlopen(request, context=context, timeout=5) as response:
                return response.read() == b"ok"
        except (urllib.error.URLError, OSError):
            return False
