"""Programs of this tree in a virtual machine with another kernel: a Debian package's, booted by qemu without hardware
help and without a network, with a file system in memory. What they write comes over the serial console."""

import dataclasses
import functools
import os
import re
import shutil
import subprocess
import unittest

END = "kernel-vm-exit"
# What the programs call beside the shell, and what is needed to make and boot a file system.
TOOLS = ("ip", "ethtool")
PROGRAMS = ("qemu-system-x86_64", "busybox", "cpio", "depmod", "modprobe", "dpkg", "apt-get", *TOOLS)
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
MODULES = ("veth", "bridge", "nf_tables", "8021q", "geneve")
FOLDERS = ("bin", "dev", "etc", "proc", "sys", "run", "tmp", "modules")
# Of a folder: what no program needs.
LEFT_OUT = shutil.ignore_patterns("*.a", "config-*", "test")
INIT = f"""\
#!/bin/sh
export PATH=/usr/bin:/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t bpf bpf /sys/fs/bpf
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
dmesg -n 1
for module in /modules/*; do insmod "$module"; done
ip link set lo up
echo root:x:0: > /etc/group
echo root:x:0:0:root:/:/bin/sh > /etc/passwd
sh /command
status=$?
dmesg | grep -E -A 20 'WARNING: |BUG: |Oops|Call Trace'
echo "{END} $status"
poweroff -f
"""


class NoEnd(AssertionError):
    """The virtual machine did not come to an end: the kernel, or a program in it, hangs."""


def _output(*args, **options):
    return subprocess.run(args, check=True, capture_output=True, text=True, **options).stdout


def _newest(pattern):
    """The package with the highest version in its name, or None."""
    found = re.findall(rf"^({pattern}) - ", _output("apt-cache", "search", "--names-only", f"^{pattern}$"),
                       re.MULTILINE)
    return max(found, key=lambda name: [int(number) for number in re.findall(r"\d+", name)], default=None)


class Kernel:
    """A kernel package (of this machine's package sources), unpacked into a folder. Skips the tests without it."""

    def __init__(self, folder, pattern):
        for program in PROGRAMS:
            if not shutil.which(program, path=PATH):
                raise unittest.SkipTest(f"{program} is not installed (packaging/install-dependencies interop)")
        package = _newest(pattern)
        if not package:
            raise unittest.SkipTest(f"no package {pattern} in this machine's package sources; try apt-get update")
        got = subprocess.run(["apt-get", "-o", "APT::Sandbox::User=root", "download", package], cwd=folder,
                             capture_output=True, text=True, check=False)
        if got.returncode != 0:
            raise unittest.SkipTest(f"{package} cannot be fetched: {got.stderr.strip()[:200]}")
        self.unpack(folder, next(name for name in os.listdir(folder) if name.endswith(".deb")))

    def unpack(self, folder, package):
        _output("dpkg", "-x", package, "root", cwd=folder)
        self.root = os.path.join(folder, "root")
        self.release = os.listdir(os.path.join(self.root, "lib/modules"))[0]
        self.image = os.path.join(self.root, "boot", f"vmlinuz-{self.release}")

    @functools.cache
    def modules(self, names):
        """The files of these modules and of what they need, in the order of loading."""
        _output("/usr/sbin/depmod", "-b", self.root, self.release)
        lines = _output("/usr/sbin/modprobe", "-d", self.root, "-S", self.release, "--show-depends", "-a",
                        *names).splitlines()
        return list(dict.fromkeys(line.split()[1] for line in lines if line.startswith("insmod")))


@dataclasses.dataclass(frozen=True)
class Content:
    """What a file system has beside the shell: these programs and TOOLS in /usr/bin, and these folders of this machine,
    by where they are there. With the libraries of all of it. Beside MODULES, the kernel has these modules; `memory`:
    of the virtual machine, MiB, with the file system."""

    programs: tuple
    folders: dict = dataclasses.field(default_factory=dict)
    modules: tuple = ()
    memory: int = 2048


def _libraries(program):
    """Those of a program or library; none of another file."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    return re.findall(r"(/\S+) \(0x", done.stdout)


def _file_system(folder, kernel, content, command):
    """An archive that the kernel unpacks into memory: busybox, the content, and /init."""
    root = os.path.join(folder, "memory")
    shutil.rmtree(root, ignore_errors=True)
    for name in FOLDERS:
        os.makedirs(os.path.join(root, name))

    def put(source, target):
        target = os.path.join(root, target.lstrip("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(source, target)

    put(shutil.which("busybox", path=PATH), "/bin/busybox")
    # Not busybox's shell, which takes its own `ip` for any other.
    targets = {"/bin/sh": "/bin/sh"}
    for program in (*content.programs, *TOOLS):
        targets[shutil.which(program, path=PATH)] = f"/usr/bin/{os.path.basename(program)}"
    for target, source in content.folders.items():
        shutil.copytree(source, os.path.join(root, target.lstrip("/")), ignore=LEFT_OUT)
    for source, target in targets.items():
        put(source, target)
    with_libraries = [*targets, *(os.path.join(place, name) for source in content.folders.values()
                                  for place, _, names in os.walk(source) for name in names if name.endswith(".so"))]
    for library in {needed for source in with_libraries for needed in _libraries(source)}:
        put(library, library)
    for number, module in enumerate(kernel.modules((*MODULES, *content.modules))):
        put(module, f"/modules/{number:02}-{os.path.basename(module)}")
    for name, text in (("init", INIT), ("command", command + "\n")):
        with open(os.path.join(root, name), "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(os.path.join(root, name), 0o755)
    archive = os.path.join(folder, "memory.cpio")
    names = _output("find", ".", "-print0", cwd=root)
    with open(archive, "wb") as file:
        subprocess.run(["cpio", "--quiet", "--null", "-o", "-H", "newc"], input=names.encode(), cwd=root, stdout=file,
                       check=True)
    return archive


def run(folder, kernel, content, command, timeout=600):
    """Boots the kernel and runs the command in it, as root. Returns its exit status and what came over the console."""
    archive = _file_system(folder, kernel, content, command)
    machine = ["qemu-system-x86_64", "-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2",
               "-m", f"{content.memory}M", "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
               "-no-reboot", "-kernel", kernel.image, "-initrd", archive, "-append", "console=ttyS0 quiet panic=-1"]
    try:
        done = subprocess.run(machine, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise NoEnd(f"no end after {timeout} s\n{_text(error.stdout)}") from None
    text = _text(done.stdout)
    end = re.search(rf"^{END} (\d+)$", text, re.MULTILINE)
    if not end:
        raise NoEnd(f"the kernel stopped before the program's end\n{text}")
    return int(end[1]), text[:end.start()]


def _text(console):
    return (console or b"").decode(errors="replace").replace("\r", "")
