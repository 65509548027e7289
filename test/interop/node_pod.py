"""The pod of a DaemonSet on a node, made of its manifest as a kubelet and a container runtime make it: user,
capabilities, read-only root, seccomp profile, paths of /proc and /sys, environment, mounts. crun runs it on the root
folder of an image. The node is a network namespace and a folder; the rest of the machine is shared."""

import base64
import json
import os
import re
import shutil
import subprocess
import tarfile
import time

from fleet.shell import Daemon, run

SECCOMP = "/usr/share/containers/seccomp.json"
# What a runtime gives a container that asks for nothing, and hides from it, if it is not privileged.
READ_ONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
MASKED_PATHS = ["/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
                "/sys/devices/virtual/powercap"]
# What containerd since 1.6.9 and Docker since 23.0 allow beyond the profile of containers-common.
BY_CAPABILITY = {"CAP_BPF": "bpf", "CAP_PERFMON": "perf_event_open"}
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def unpack_image(archive, into):
    """The root folder of an image in an OCI archive; returns its configuration."""
    with tarfile.open(archive) as layout:
        def blob(digest):
            return layout.extractfile("./blobs/" + digest.replace(":", "/"))
        manifest = json.load(blob(json.load(layout.extractfile("./index.json"))["manifests"][0]["digest"]))
        for layer in manifest["layers"]:
            with tarfile.open(fileobj=blob(layer["digest"])) as files:
                files.extractall(into)  # of our own making
        return json.load(blob(manifest["config"]["digest"]))["config"]


def seccomp_profile(capabilities):
    """The runtime's default profile for a container with these capabilities."""
    with open(SECCOMP, encoding="utf-8") as file:
        profile = json.load(file)
    rules = []
    for rule in profile["syscalls"]:
        includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
        if "amd64" not in includes.get("arches", ["amd64"]) or "amd64" in excludes.get("arches", []):
            continue
        if not set(includes.get("caps", [])) <= set(capabilities) or set(excludes.get("caps", [])) & set(capabilities):
            continue
        allowed = {BY_CAPABILITY[one] for one in capabilities if one in BY_CAPABILITY}
        names = [name for name in rule["names"] if rule["action"] == "SCMP_ACT_ALLOW" or name not in allowed]
        rules.append({key: value for key, value in rule.items()
                      if key in ("action", "args", "errnoRet") and value not in (None, [])} | {"names": names})
    rules += [{"names": [name], "action": "SCMP_ACT_ALLOW"} for one, name in BY_CAPABILITY.items()
              if one in capabilities]
    return {"defaultAction": profile["defaultAction"], "defaultErrnoRet": profile["defaultErrnoRet"],
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [rule for rule in rules if rule["names"]]}


class Node:
    """Where a pod runs: its network namespace, and folders of its own in the place of the machine's."""

    OWN = ("/run/isthmus", "/dev/shm/isthmus", "/var/lib/isthmus", "/sys/fs/bpf")

    def __init__(self, name, netns, folder):
        self.name, self.netns, self.folder = name, netns, folder
        for path in self.OWN:
            os.makedirs(self.path(path), exist_ok=True)
        self.bpf = self.path("/sys/fs/bpf")
        run(["mount", "-t", "bpf", "bpf", self.bpf])

    def path(self, path):
        """Where a path of the node is on this machine."""
        return os.path.join(self.folder, "node", path[1:]) if path in self.OWN else path

    def close(self):
        run(["umount", self.bpf], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


class NodePod:
    """One pod of `daemon_set` on `node`; `objects` has the ConfigMaps and Secrets that it mounts. `account`: token and
    CA of its service account, host and port of the API server. A pod runs once."""

    serial = 0

    def __init__(self, node, daemon_set, objects, image, defaults, account=None):
        NodePod.serial += 1
        self.node, self.objects, self.account = node, objects, account
        self.id = f"ist-{os.getpid()}-{node.name}-{NodePod.serial}"
        self.pod = daemon_set["spec"]["template"]["spec"]
        self.container = self.pod["containers"][0]
        self.defaults = defaults  # of the image
        self.folder = os.path.join(node.folder, self.id)
        self.state = os.path.join(node.folder, "crun")
        os.makedirs(self.folder)
        os.makedirs(self.state, exist_ok=True)
        self.log = os.path.join(node.folder, f"{self.id}.log")
        with open(os.path.join(self.folder, "config.json"), "w", encoding="utf-8") as file:
            json.dump(self._specification(image), file)
        self.daemon = None
        self.hook = None  # the preStop command, once it has run

    # The manifest as an OCI configuration.

    def _environment(self):
        values = {"PATH": "/usr/bin", **dict(pair.split("=", 1) for pair in self.defaults.get("Env", []))}
        for entry in self.container.get("env", []):
            if "value" in entry:
                values[entry["name"]] = re.sub(r"\$\((\w+)\)", lambda at: values.get(at[1], at[0]), entry["value"])
            elif entry["valueFrom"]["fieldRef"]["fieldPath"] == "spec.nodeName":
                values[entry["name"]] = self.node.name
        if self.account:
            values |= {"KUBERNETES_SERVICE_HOST": self.account["host"],
                       "KUBERNETES_SERVICE_PORT": str(self.account["port"])}
        return [f"{name}={value}" for name, value in values.items()]

    def capabilities(self):
        security = self.container["securityContext"]
        if security.get("privileged"):
            last = int(open("/proc/sys/kernel/cap_last_cap", encoding="ascii").read())
            names = subprocess.run(["capsh", "--decode=%x" % (2 ** (last + 1) - 1)], check=True, capture_output=True,
                                   text=True).stdout.strip().split("=")[1]
            return [name.upper() for name in names.split(",")]
        if security["capabilities"]["drop"] != ["ALL"]:
            raise ValueError("this harness knows only containers that drop all capabilities")
        return [f"CAP_{name}" for name in security["capabilities"]["add"]]

    def _specification(self, image):
        security = self.container["securityContext"]
        user = {"uid": security.get("runAsUser", self.pod["securityContext"]["runAsUser"]),
                "gid": security.get("runAsGroup", self.pod["securityContext"].get("runAsGroup", 0))}
        capabilities = self.capabilities()
        # To others than root a runtime gives none.
        given = capabilities if user["uid"] == 0 else []
        specification = {
            "ociVersion": "1.0.0",
            "process": {
                "terminal": False, "user": user, "cwd": "/",
                "args": [*self.container.get("command", self.defaults["Entrypoint"]), *self.container.get("args", [])],
                "env": self._environment(), "noNewPrivileges": not security.get("allowPrivilegeEscalation", True),
                "capabilities": {"bounding": capabilities, "effective": given, "permitted": given,
                                 "inheritable": [], "ambient": []}},
            "root": {"path": image, "readonly": security["readOnlyRootFilesystem"]},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                 "options": ["nosuid", "mode=755", "size=64k"]},
                {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                 "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
                {"destination": "/sys", "type": "sysfs", "source": "sysfs",
                 "options": ["nosuid", "noexec", "nodev", "ro"]},
                *self._mounts()],
            "linux": {
                "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "mount"},
                               {"type": "network", "path": self.node.netns.path}],
                "maskedPaths": MASKED_PATHS, "readonlyPaths": READ_ONLY_PATHS}}
        if security.get("privileged"):
            del specification["linux"]["maskedPaths"], specification["linux"]["readonlyPaths"]
        elif self.pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault":
            specification["linux"]["seccomp"] = seccomp_profile(capabilities)
        return specification

    def _mounts(self):
        volumes = {volume["name"]: volume for volume in self.pod["volumes"]}
        wanted = list(self.container["volumeMounts"])
        if self.pod["automountServiceAccountToken"]:
            volumes["account"] = {"projected": {"sources": []}}
            wanted.append({"name": "account", "mountPath": ACCOUNT, "readOnly": True})
        # Those above before those below.
        for mount in sorted(wanted, key=lambda one: one["mountPath"]):
            source = self._source(mount["name"], volumes[mount["name"]])
            yield {"destination": mount["mountPath"], "type": "bind", "source": source,
                   "options": ["rbind", "rslave" if mount.get("mountPropagation") else "rprivate",
                               "ro" if mount.get("readOnly") else "rw"]}

    def _source(self, name, volume):
        if "hostPath" in volume:
            path = self.node.path(volume["hostPath"]["path"])
            if volume["hostPath"].get("type") == "DirectoryOrCreate":
                os.makedirs(path, mode=0o755, exist_ok=True)
            elif not os.path.isdir(path):
                raise FileNotFoundError(path)
            return path
        folder = os.path.join(self.folder, "volumes", name)
        os.makedirs(folder)
        files = self._account_files() if name == "account" else self._files(volume)
        for file, content in files.items():
            with open(os.path.join(folder, file), "wb") as out:
                out.write(content)
        return folder

    def _account_files(self):
        return {"token": self.account["token"].encode(), "ca.crt": self.account["ca"].encode(),
                "namespace": b"kube-system"}

    def _files(self, volume):
        """Of a ConfigMap, a Secret, or some of them: {file: content}."""
        if "projected" in volume:
            return {name: content for source in volume["projected"]["sources"]
                    for name, content in self._files(source).items()}
        kind, reference = ("ConfigMap", volume["configMap"]) if "configMap" in volume else ("Secret", volume["secret"])
        wanted = reference.get("name") or reference["secretName"]
        found = next((one for one in self.objects if one["kind"] == kind and one["metadata"]["name"] == wanted), None)
        if found is None:
            if reference.get("optional"):
                return {}
            raise FileNotFoundError(f"{kind} {wanted}")
        data = {key: text.encode() if kind == "ConfigMap" else base64.b64decode(text)
                for key, text in found["data"].items()}
        return {item["path"]: data[item["key"]] for item in reference["items"]} if "items" in reference else data

    # Its life.

    def _crun(self, *words):
        # It looks at cgroups even where it is to leave them alone, and gives up where both versions are mounted.
        return ["unshare", "--mount", "sh", "-ec", 'mount -t tmpfs tmpfs /sys/fs/cgroup; exec "$@"', "sh",
                "crun", "--root", self.state, "--cgroup-manager=disabled", *words]

    def start(self):
        self.daemon = Daemon(self.id, self._crun("run", "--bundle", self.folder, self.id), self.log)

    def exec(self, *words, check=True):
        """Runs a command in it, as kubectl exec does."""
        return run(self._crun("exec", self.id, *words), check=check)

    def signal(self, name):
        run(self._crun("kill", self.id, name), check=False)

    def end(self):
        """As a kubelet ends a pod: preStop, then SIGTERM, and SIGKILL at the end of the grace period; its seconds."""
        begun = time.monotonic()
        hook = self.container.get("lifecycle", {}).get("preStop")
        if hook and self.daemon.alive:
            self.hook = self.exec(*hook["exec"]["command"], check=False)  # whose failure a kubelet reports, no more
        left = self.pod["terminationGracePeriodSeconds"] - (time.monotonic() - begun)
        self.signal("TERM")
        try:
            self.daemon.popen.wait(left)
        except subprocess.TimeoutExpired:
            self.signal("KILL")
            self.daemon.popen.wait(10)
        run(self._crun("delete", "--force", self.id), check=False)
        return time.monotonic() - begun
