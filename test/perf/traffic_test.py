"""perf/traffic: counts the frames that it generates, and detects lost, duplicated and damaged ones."""

import json
import os
import struct
import subprocess
import tempfile
import unittest
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("ISTHMUS_BUILD", os.path.join(ROOT, "build"))
PROGRAM = os.path.join(BUILD, "perf", "traffic", "traffic")


def traffic(*arguments):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=False)


def counted(path):
    done = traffic("count", "--pcap", path)
    return done.returncode, {name: int(value) for name, value in
                             (line.rsplit(" ", 1) for line in done.stdout.splitlines())}


def records(path):
    """(file header, records) of a capture file."""
    with open(path, "rb") as file:
        header, found = file.read(24), []
        while head := file.read(16):
            found.append(head + file.read(struct.unpack("=IIII", head)[2]))
    return header, found


class Captures(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.pcap = os.path.join(self.folder.name, "frames.pcap")

    def make(self, *arguments):
        done = traffic("make", "--pcap", self.pcap, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_frames_of_every_kind_are_counted_completely(self):
        tunnel = ("--tunnel-from", "192.0.2.2", "--tunnel-to", "192.0.2.1", "--vni", "131079")
        six = ("--source", "fd00:1::1", "--destination", "fd00:2::1")
        for shape, tunnelled in (((), 0), (six, 0), (tunnel, 300), (six + tunnel, 300), (("--frame", "1514"), 0)):
            self.make("--count", "300", "--connections", "60", "--order", "sequential", *shape)
            status, found = counted(self.pcap)
            self.assertEqual(status, 0)
            self.assertEqual(found, {"frames": 300, "stamped": 300, "tunnelled": tunnelled, "bad checksums": 0,
                                     "connections": 60, "duplicates": 0, "missing": 0})

    def test_more_connections_than_ports_use_more_addresses(self):
        self.make("--count", "60000", "--connections", "60000", "--order", "sequential")
        self.assertEqual(counted(self.pcap)[1]["connections"], 60000)

    def test_zipf_order_concentrates_on_few_connections(self):
        self.make("--count", "5000", "--connections", "5000", "--order", "zipf")
        zipf = counted(self.pcap)[1]["connections"]
        self.make("--count", "5000", "--connections", "5000", "--order", "random")
        self.assertLess(zipf, counted(self.pcap)[1]["connections"] * 3 // 4)

    def test_lost_duplicated_and_damaged_frames_are_counted(self):
        self.make("--count", "10")
        header, found = records(self.pcap)
        damaged = bytearray(found[5])
        damaged[-1] ^= 1
        with open(self.pcap, "wb") as file:
            file.write(header + b"".join([*found[:3], found[4], bytes(damaged), found[6], found[6], *found[7:]]))
        status, numbers = counted(self.pcap)
        self.assertEqual(status, 1)
        self.assertEqual((numbers["missing"], numbers["duplicates"], numbers["bad checksums"]), (1, 1, 1))

    def test_invalid_arguments_are_named_in_the_error(self):
        for arguments, message in (
                (("make", "--pcap", self.pcap, "--source", "fd00::1"), "same family"),
                (("make", "--pcap", self.pcap, "--tunnel-to", "192.0.2.1"), "both ends"),
                (("make", "--pcap", "/nowhere/x.pcap"), "/nowhere/x.pcap"),
                (("count", "--pcap", "/nowhere/x.pcap"), "/nowhere/x.pcap"),
                (("make",), "--pcap"), (("fly",), "")):
            done = traffic(*arguments)
            self.assertNotEqual(done.returncode, 0, arguments)
            self.assertIn(message, done.stderr + done.stdout)


class Interfaces(unittest.TestCase):
    def test_sent_frames_reach_the_sink(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")
        netns = f"ist-{uuid.uuid4().hex[:8]}"
        subprocess.run(["ip", "netns", "add", netns], check=True)
        self.addCleanup(subprocess.run, ["ip", "netns", "delete", netns], check=False)
        inside = ["nsenter", f"--net=/run/netns/{netns}"]
        for command in (["ip", "link", "add", "from0", "type", "veth", "peer", "name", "to0"],
                        ["ip", "link", "set", "from0", "up"],
                        ["ip", "link", "set", "to0", "up"]):
            subprocess.run(inside + command, check=True)
        with subprocess.Popen([*inside, PROGRAM, "sink", "--interface", "to0", "--seconds", "4"],
                              stdout=subprocess.PIPE, text=True) as sink:
            self.assertEqual(sink.stdout.readline(), "ready\n")
            sent = subprocess.run([*inside, PROGRAM, "send", "--interface", "from0", "--seconds", "0.5"],
                                  capture_output=True, text=True, check=False)
            self.assertEqual(sent.returncode, 0, sent.stderr)
            out, _ = sink.communicate(timeout=60)
        found = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in out.splitlines())}
        self.assertGreater(found["stamped"], 1000)
        self.assertLessEqual(found["stamped"], found["frames"])  # includes the kernel's neighbour discovery
        # On a busy machine the ring of the pair runs full; the kernel counts what it drops then.
        shown = subprocess.run([*inside, "ip", "-j", "-s", "link", "show", "from0"], capture_output=True, text=True,
                               check=True).stdout
        self.assertLessEqual(found["missing"], json.loads(shown)[0]["stats64"]["tx"]["dropped"])
        self.assertGreater(found["latency us median"], 0)
        self.assertLessEqual(found["latency us median"], found["latency us p99"])
        self.assertLessEqual(found["latency us p99"], found["latency us max"])


if __name__ == "__main__":
    unittest.main()
