"""Numbered packets between two pods, both ways, over flows that last and flows that are new all the time.

A server echoes what it gets; a client numbers what it sends and notes what comes back. So each number has crossed the
gateways in both directions. For TCP, whose retransmissions hide what is lost, the kernels of both pods count the
packets that leave and arrive: what is neither lost nor doubled is of one number at both ends.
"""

import asyncio
import json
import os
import re
import signal
import socket
import struct
import sys
import time

if __name__ != "__main__":
    from . import plan
    from .shell import wait_until

PORT = 7001
INTERVAL = 0.004   # between two numbers of a flow that lasts
NEW_EVERY = 0.008  # between two new flows of a kind
LINGER = 3.0       # after the last number, for what is on its way
KINDS = ("udp", "udp-new", "tcp", "tcp-new")
SETTLED = ("udp", "tcp")  # those that last
AFTER = 1.5        # seconds of traffic before and after what a test does


class Tally:
    """Numbers sent, and how often each came back."""

    def __init__(self):
        self.sent = 0
        self.back = {}

    def next(self):
        self.sent += 1
        return struct.pack("!Q", self.sent)

    def came(self, data):
        number = struct.unpack("!Q", data)[0]
        self.back[number] = self.back.get(number, 0) + 1

    def report(self):
        lost = sorted(set(range(1, self.sent + 1)) - set(self.back))
        return {"sent": self.sent, "lost": lost[:20], "last_lost": lost[-1] if lost else 0,
                "doubled": sorted(number for number, count in self.back.items() if count > 1)[:20]}


class EchoUdp(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(data, addr)


class CountUdp(asyncio.DatagramProtocol):
    def __init__(self, tally):
        self.tally = tally

    def datagram_received(self, data, addr):
        self.tally.came(data)


async def echo_tcp(reader, writer):
    try:
        while data := await reader.read(4096):
            writer.write(data)
    except ConnectionError:
        pass
    writer.close()


async def serve():
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(EchoUdp, local_addr=("::", PORT))
    server = await asyncio.start_server(echo_tcp, None, PORT, backlog=1000)
    print("listening", flush=True)
    async with server:
        await server.serve_forever()


class Client:
    def __init__(self, address, interval, *kinds):
        self.address = address
        self.interval = float(interval)
        self.stopping = False
        self.tallies = {name: Tally() for name in kinds}
        self.open = []
        self.tasks = set()

    async def udp(self):
        tally = self.tallies["udp"]
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: CountUdp(tally), remote_addr=(self.address, PORT))
        self.open.append(transport)
        while not self.stopping:
            transport.sendto(tally.next())
            await asyncio.sleep(self.interval)

    async def udp_new(self):
        tally = self.tallies["udp-new"]
        while not self.stopping:
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: CountUdp(tally), remote_addr=(self.address, PORT))
            transport.sendto(tally.next())
            asyncio.get_running_loop().call_later(LINGER, transport.close)
            await asyncio.sleep(NEW_EVERY)

    async def read_numbers(self, reader, tally, count=None):
        while count is None or count > 0:
            try:
                tally.came(await reader.readexactly(8))
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            count = count and count - 1

    async def tcp(self):
        tally = self.tallies["tcp"]
        reader, writer = await asyncio.open_connection(self.address, PORT)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.start(self.read_numbers(reader, tally))
        while not self.stopping:
            writer.write(tally.next())
            await asyncio.sleep(self.interval)

    async def one_tcp(self, tally):
        number = tally.next()
        try:
            reader, writer = await asyncio.open_connection(self.address, PORT)
            writer.write(number)
            await self.read_numbers(reader, tally, 1)
            writer.close()
        except OSError:
            pass  # the number is lost

    async def tcp_new(self):
        while not self.stopping:
            self.start(self.one_tcp(self.tallies["tcp-new"]))
            await asyncio.sleep(NEW_EVERY)

    def start(self, work):
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def run(self):
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        work = {"udp": self.udp, "udp-new": self.udp_new, "tcp": self.tcp, "tcp-new": self.tcp_new}
        for kind in self.tallies:
            self.start(work[kind]())
        print("started", flush=True)
        await ended.wait()
        self.stopping = True
        await asyncio.sleep(LINGER)
        print(json.dumps({name: tally.report() for name, tally in self.tallies.items()}), flush=True)


COUNTED = "table inet numbered { %s ; %s ; }"
CHAIN = "chain %s { type filter hook %s priority -300; tcp %s %d counter; }"


class NumberedTraffic:
    """Between two pods of a fleet, until stop()."""

    def __init__(self, fleet, client, server, address, kinds=KINDS, interval=INTERVAL):
        self.ends = [fleet.pod(end.cluster, end.name) for end in (client, server)]
        name = f"{client.full_name}-{server.full_name}"
        logs = [os.path.join(fleet.folder, "log", f"numbered-{part}-{name}.log") for part in ("server", "client")]
        for log in logs:
            if os.path.exists(log):
                os.remove(log)
        for netns, out, back in ((self.ends[0], "dport", "sport"), (self.ends[1], "sport", "dport")):
            netns.run(["nft", COUNTED % (CHAIN % ("out", "output", out, PORT), CHAIN % ("back", "input", back, PORT))])
        program = ["/usr/bin/python3", os.path.abspath(__file__)]
        self.server = self.ends[1].start(f"numbered-server-{name}", [*program, "serve"], logs[0])
        wait_until(lambda: self.server.log_tail(), what="the server listens")
        self.client = self.ends[0].start(f"numbered-client-{name}",
                                        [*program, "connect", address, str(interval), *kinds], logs[1])

    def _packets(self, netns):
        """TCP packets that have left and arrived."""
        text = netns.run(["nft", "list", "table", "inet", "numbered"]).stdout
        counts = [int(count) for count in re.findall(r"packets (\d+)", text)]
        return counts[0], counts[1]

    def arrived(self):
        """TCP packets that have arrived at the server."""
        return self._packets(self.ends[1])[1]

    def stop(self):
        """{kind: numbers sent, lost, doubled}, and for TCP (left, arrived) of both directions."""
        self.client.signal(signal.SIGTERM)
        self.client.popen.wait(LINGER + 20)
        log = self.client.log_tail(1000)
        try:
            report = json.loads(log.splitlines()[-1])
        except ValueError as error:
            raise RuntimeError(f"no report:\n{log}") from error
        self.server.stop()
        (out, back_in), (back_out, arrived) = (self._packets(netns) for netns in self.ends)
        report["packets"] = [(out, arrived), (back_out, back_in)]
        self.remove()
        return report

    def remove(self):
        self.client.kill()
        self.server.kill()
        for netns in self.ends:
            netns.run(["nft", "delete", "table", "inet", "numbered"], check=False)


def west_and_north():
    """Out of west over IPv4, and into it over IPv6: (client, server, address)."""
    return [("west-client", "north-web-0", plan.pod("north-web-0").ipv4),
            ("north-client", "west-web-0", plan.pod("west-web-0").ipv6)]


class Numbered:
    """Mix-in for a test case with a `fleet`: traffic that begins, and is found complete."""

    def begin(self, *ends, **options):
        """A NumberedTraffic for each (client, server, address); pods by their full names."""
        pairs = []
        for client, server, address in ends:
            pairs.append(NumberedTraffic(self.fleet, plan.pod(client), plan.pod(server), address, **options))
            self.addCleanup(pairs[-1].remove)
        return pairs

    def traffic(self, *ends, **options):
        """The same, some seconds old."""
        pairs = self.begin(*ends, **options)
        time.sleep(AFTER)
        return pairs

    def assert_complete(self, pairs):
        """Nothing was lost or doubled. Returns how many numbers each flow has sent: [{kind: numbers}]."""
        sent = []
        for report in [pair.stop() for pair in pairs]:
            packets = report.pop("packets")
            for kind, row in report.items():
                self.assertGreater(row["sent"], 100, (kind, row))
                self.assertEqual((row["lost"], row["doubled"]), ([], []), (kind, report, self.fleet.drops()))
            for left, arrived in packets:
                self.assertEqual(left, arrived, (packets, report, self.fleet.drops()))
            sent.append({kind: row["sent"] for kind, row in report.items()})
        return sent


if __name__ == "__main__":
    asyncio.run(serve() if sys.argv[1] == "serve" else Client(*sys.argv[2:]).run())
