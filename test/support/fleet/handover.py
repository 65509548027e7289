"""The hand-over between two gateways of one name (control/handover/channel.h), spoken by a test.

Ends of it that break off where a real gateway does not: a successor of our own, and a relay between two real gateways
that can end one of them at a chosen message.
"""

import os
import socket
import threading

HELLO, WELCOME, DIFFERENT, REFUSED, GIVE, BUSY, STATE, MORE, LATE, TAKEN, SERVING, STOP, GONE = range(1, 14)
MAX_TEXT = 16384
MAX_DESCRIPTORS = 200


def path_of(gateway):
    return gateway.socket + ".next"


def receive(channel):
    """(kind, text, descriptors); None: the other end has closed."""
    try:
        body, descriptors, _, _ = socket.recv_fds(channel, MAX_TEXT + 1, MAX_DESCRIPTORS)
    except ConnectionError:
        return None
    return (body[0], body[1:], descriptors) if body else None


class Listener:
    """Has the place of the gateway's own socket, until close()."""

    def __init__(self, gateway):
        self.path = path_of(gateway)
        self.real = self.path + ".real"
        os.rename(self.path, self.real)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.bind(self.path)
        self.socket.listen(4)
        self.inode = os.stat(self.path).st_ino

    def close(self):
        """Gives the place back, unless a successor has it by now."""
        self.socket.close()
        if os.path.exists(self.path) and os.stat(self.path).st_ino != self.inode:
            os.unlink(self.real)
        else:
            os.rename(self.real, self.path)


def hello_of(gateway):
    """What a successor with the gateway's configuration says first."""
    listener = Listener(gateway)
    daemon = gateway.netns.start(f"{gateway.name}-hello", [gateway.program, "run", "-c", gateway.config], gateway.log)
    try:
        channel, _ = listener.socket.accept()
        with channel:
            kind, text, _ = receive(channel)
        assert kind == HELLO
        return text
    finally:
        daemon.kill()
        listener.close()


class FakeSuccessor:
    """Connects to the gateway that runs."""

    def __init__(self, gateway):
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.settimeout(10)
        self.channel.connect(path_of(gateway))

    def say(self, kind, text=b""):
        self.channel.send(bytes([kind]) + text)

    def hear(self):
        """(kind, text), with the descriptors closed; None: the gateway has closed."""
        message = receive(self.channel)
        if message is None:
            return None
        for descriptor in message[2]:
            os.close(descriptor)
        return message[:2]

    def take(self, hello):
        """Goes as far as the description; returns with the gateway's workers standing."""
        self.say(HELLO, hello)
        assert self.hear()[0] == WELCOME
        self.say(GIVE)
        answer = self.hear()
        while answer[0] == BUSY:
            self.say(GIVE)
            answer = self.hear()
        assert answer[0] == STATE, answer

    def close(self):
        self.channel.close()


class Relay:
    """Between a gateway that runs and its successor; calls `at(kind)` before it passes a message of the former on."""

    def __init__(self, gateway, at):
        self.listener = Listener(gateway)
        self.at = at
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        successor, _ = self.listener.socket.accept()
        with successor, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as predecessor:
            predecessor.connect(self.listener.real)
            back = threading.Thread(target=self._pass, args=(successor, predecessor, lambda kind: None))
            back.start()
            self._pass(predecessor, successor, self.at)
            back.join()

    @staticmethod
    def _pass(source, to, at):
        while (message := receive(source)) is not None:
            kind, text, descriptors = message
            at(kind)
            try:
                socket.send_fds(to, [bytes([kind]) + text], descriptors)
            except OSError:
                pass  # it has closed
            for descriptor in descriptors:
                os.close(descriptor)
        try:
            to.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has closed, too

    def close(self):
        self.listener.close()
