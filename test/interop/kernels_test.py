"""The kernel programs, AF_XDP, the engine's devices and two whole gateways on Debian 12's own kernel, 6.1, in a virtual
machine. (The other suites run on the kernel of this machine.)"""

import os
import re
import subprocess
import tempfile
import unittest

import kernel_vm

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("ISTHMUS_UNIT_BUILD", "")
PROGRAM = os.environ.get("ISTHMUS_PROGRAM", "")
PYTHON = "/usr/bin/python3"
DEBIAN_12 = r"linux-image-6\.1\.0-[0-9]+-cloud-amd64"
CASE = re.compile(r"^\[ RUN +\] (?P<name>\S+)\n(?P<text>.*?)^\[ +(?P<result>OK|FAILED|SKIPPED) +\] (?P=name)",
                  re.MULTILINE | re.DOTALL)
FAULT = "WARNING: |BUG: |Oops|Call Trace"
FORWARDING, CHANGES = "AfXdpDeviceTest.*:Modes/*", "DeviceLifeTest.*:SteerLifeTest.*"


class Debian61(unittest.TestCase):
    """One virtual machine for each test; every case must pass there, none may be left out."""

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

    def test_gateways_forward_in_the_kernel(self):
        """With the fleet's own tools: kernel_fleet.py."""
        if not os.path.isfile(PROGRAM):
            self.skipTest("ISTHMUS_PROGRAM does not name the program")
        library = subprocess.run([PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('stdlib'))"],
                                 capture_output=True, text=True, check=True).stdout.strip()
        content = kernel_vm.Content((PROGRAM, PYTHON, "nft", "nice", "nsenter", "ss"), {library: library, **{
            f"/isthmus/{folder}": os.path.join(ROOT, folder)
            for folder in ("test/support/fleet", "test/netns", "test/interop")}})
        status, text = kernel_vm.run(
            self.folder, self.kernel, content, f"export ISTHMUS_PROGRAM=/usr/bin/{os.path.basename(PROGRAM)}\n"
            f"PYTHONPATH=/isthmus/test/netns:/isthmus/test/interop {PYTHON} -m unittest -v kernel_fleet")
        self.assertEqual(status, 0, text)
        self.assertRegex(text, r"(?m)^Ran 1 test ")
        self.assertNotRegex(text, FAULT)

    def test_devices_forward(self):
        self.passes("test/netns/io/netns-io", FORWARDING)

    def test_devices_follow_changes(self):
        self.passes("test/netns/io/netns-io", CHANGES)

    def test_attachment_and_probes(self):
        self.passes("test/netns/io/netns-io", f"-{FORWARDING}:{CHANGES}")
