"""The kernel programs, AF_XDP, the engine's devices and whole gateways on Debian 12's own kernel, 6.1, in a virtual
machine. (The other suites run on the kernel of this machine.) Also what needs parts of a kernel that many a machine's
has not: VLANs and Geneve."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import kernel_vm

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "netns"))

import cilium_agent  # noqa: E402  (needs the path above)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("ISTHMUS_UNIT_BUILD", "")
PROGRAM = os.environ.get("ISTHMUS_PROGRAM", "")
LOAD = os.path.join(os.environ.get("ISTHMUS_BUILD", ""), "test", "netns", "fleet-load")
PYTHON = "/usr/bin/python3"
DEBIAN_12 = r"linux-image-6\.1\.0-[0-9]+-cloud-amd64"
CASE = re.compile(r"^\[ RUN +\] (?P<name>\S+)\n(?P<text>.*?)^\[ +(?P<result>OK|FAILED|SKIPPED) +\] (?P=name)",
                  re.MULTILINE | re.DOTALL)
FAULT = "WARNING: |BUG: |Oops|Call Trace"
# What Cilium's agent calls, and the rules of its iptables.
CLANG, LLVM = "clang-19", "/usr/lib/llvm-19/lib"
AGENTS_FOLDERS = ("/usr/lib/ssl", "/usr/lib/x86_64-linux-gnu/xtables")
AGENTS_MODULES = ("vxlan", "dummy", "cls_bpf", "sch_ingress", "xfrm_user", "tcp_diag", "udp_diag",
                  "nft_chain_nat", "nft_compat", "xt_CT", "xt_TPROXY", "xt_addrtype", "xt_comment", "xt_conntrack",
                  "xt_mark", "xt_set", "xt_socket")
FORWARDING, CHANGES = "AfXdpDeviceTest.*:Modes/*", "DeviceLifeTest.*:SteerLifeTest.*"


class Debian61(unittest.TestCase):
    """One virtual machine for each test; every case must pass there, none may be left out."""

    timeout = 1500

    @classmethod
    def setUpClass(cls):
        if not os.path.isdir(BUILD):
            raise unittest.SkipTest("ISTHMUS_UNIT_BUILD does not name a build folder with the unit tests' programs")
        folder = tempfile.TemporaryDirectory(prefix="ist-kernel-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        cls.kernel = kernel_vm.Kernel(cls.folder, DEBIAN_12)

    def passes(self, program, cases="*"):
        """Runs these cases of a GoogleTest program."""
        program = os.path.join(BUILD, program)
        status, text = kernel_vm.run(
            self.folder, self.kernel, kernel_vm.Content((program,)),
            f"{os.path.basename(program)} --gtest_color=no '--gtest_filter={cases}'")
        ran = list(CASE.finditer(text))
        for case in ran:
            with self.subTest(case["name"]):
                self.assertEqual(case["result"], "OK", case["text"])
        begun = re.search(r"^\[==========\] Running ([1-9]\d*) tests? from", text, re.MULTILINE)
        self.assertTrue(begun, text)
        self.assertEqual(len(ran), int(begun[1]), text)
        if all(case["result"] == "OK" for case in ran):
            self.assertEqual(status, 0, text)
        self.assertNotRegex(text, FAULT)

    def test_kernel_programs(self):
        self.passes("test/unit/xdp/unit-xdp")

    def test_kernel_and_engine_carry_out_one_decision(self):
        self.passes("test/unit/xdp/differential/xdp-differential")

    def fleet(self, module, tests, programs=(), folders=None, environment="", timeout=600, **options):
        """Runs a module of this folder so many tests of which use the fleet's own tools. `programs`, `folders`: what
        it needs beside those of every fleet. `options`: more of its Content."""
        if not os.path.isfile(PROGRAM):
            self.skipTest("ISTHMUS_PROGRAM does not name the program")
        library = subprocess.run([PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"],
                                 capture_output=True, text=True, check=True).stdout.strip()
        ours = {f"/isthmus/{folder}": os.path.join(ROOT, folder)
                for folder in ("test/support/fleet", "test/netns", "test/interop")}
        content = kernel_vm.Content((PROGRAM, PYTHON, "nft", "nice", "nsenter", "ss", *programs),
                                    {library: library, **ours, **(folders or {})}, **options)
        status, text = kernel_vm.run(self.folder, self.kernel, content, f"""
            export ISTHMUS_PROGRAM=/usr/bin/{os.path.basename(PROGRAM)} ISTHMUS_BUILD=/build ISTHMUS_TEST_PATIENCE=5
            {f"export {environment}" if environment else ""}
            mkdir -p /build/test/netns
            ln -s /usr/bin/fleet-load /build/test/netns/
            PYTHONPATH=/isthmus/test/netns:/isthmus/test/interop {PYTHON} -m unittest -v {module}""", timeout)
        self.assertEqual(status, 0, text)
        self.assertRegex(text, rf"(?m)^Ran {tests} tests? ")
        self.assertNotRegex(text, rf"{FAULT}|skipped=")

    def test_gateways_forward_in_the_kernel(self):
        self.fleet("kernel_fleet", 1)

    def test_gateways_and_vlans(self):
        self.fleet("kernel_vlan", 5, ("ping",))

    def test_the_kernels_geneve_as_a_peer(self):
        rows = os.path.join(self.folder, "rows")
        os.makedirs(rows, exist_ok=True)
        with open(os.path.join(rows, "rows.json"), "w", encoding="ascii") as file:
            subprocess.run([PYTHON, os.path.join(ROOT, "test", "interop", "kernel_geneve_rows.py")], stdout=file,
                           check=True)
        self.fleet("kernel_geneve", 15, ("ping", "tcpdump", "nstat", LOAD), {"/rows": rows})

    def test_ciliums_agent_with_geneve(self):
        programs = self.agent_programs()
        self.fleet("kernel_agent", 7, ("curl", "etcd", "etcdctl", "ip6tables", "iptables", "mount", "mountpoint",
                                       "nstat", "openssl", "ping", "sleep", "umount", "unshare", CLANG, LOAD),
                   {"/programs": programs, **{folder: folder for folder in AGENTS_FOLDERS}},
                   f"ISTHMUS_GO_PROGRAMS=/programs LD_LIBRARY_PATH={LLVM}", 1400, modules=AGENTS_MODULES, memory=6144)

    def agent_programs(self):
        """A folder of the agent, the API server, and of Cilium's sources what they need."""
        programs = cilium_agent.Programs(os.path.join(self.folder, "agent"))
        folder = os.path.join(self.folder, "programs")
        for program in (programs.agent, programs.api_server):
            os.makedirs(folder, exist_ok=True)
            shutil.copy(program, folder)
        for source, target in ((programs.kinds, cilium_agent.KINDS), (os.path.join(programs.library, "bpf"), "bpf")):
            shutil.copytree(source, os.path.join(folder, cilium_agent.MODULE, target))
        return folder

    def test_devices_forward(self):
        self.passes("test/netns/io/netns-io", FORWARDING)

    def test_devices_follow_changes(self):
        self.passes("test/netns/io/netns-io", CHANGES)

    def test_attachment_and_probes(self):
        self.passes("test/netns/io/netns-io", f"-{FORWARDING}:{CHANGES}")
