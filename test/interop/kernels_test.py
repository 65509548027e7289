"""The kernel programs, AF_XDP and the engine's devices on Debian 12's own kernel, 6.1: the programs of the unit tests,
in a virtual machine. (The other suites run on the kernel of this machine.)"""

import os
import re
import tempfile
import unittest

import kernel_vm

BUILD = os.environ.get("ISTHMUS_UNIT_BUILD", "")
DEBIAN_12 = r"linux-image-6\.1\.0-[0-9]+-cloud-amd64"
CASE = re.compile(r"^\[ RUN +\] (?P<name>\S+)\n(?P<text>.*?)^\[ +(?P<result>OK|FAILED|SKIPPED) +\] (?P=name)",
                  re.MULTILINE | re.DOTALL)
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
        status, text = kernel_vm.run(self.folder, self.kernel, os.path.join(BUILD, program),
                                     f"--gtest_color=no '--gtest_filter={cases}'")
        ran = list(CASE.finditer(text))
        for case in ran:
            with self.subTest(case["name"]):
                self.assertEqual(case["result"], "OK", case["text"])
        begun = re.search(r"^\[==========\] Running ([1-9]\d*) tests? from", text, re.MULTILINE)
        self.assertTrue(begun, text)
        self.assertEqual(len(ran), int(begun[1]), text)
        if all(case["result"] == "OK" for case in ran):
            self.assertEqual(status, 0, text)
        self.assertNotRegex(text, "WARNING: |BUG: |Oops|Call Trace")

    def test_kernel_programs(self):
        self.passes("test/unit/xdp/unit-xdp")

    def test_devices_forward(self):
        self.passes("test/netns/io/netns-io", FORWARDING)

    def test_devices_follow_changes(self):
        self.passes("test/netns/io/netns-io", CHANGES)

    def test_attachment_and_probes(self):
        self.passes("test/netns/io/netns-io", f"-{FORWARDING}:{CHANGES}")
