"""Datagrams of any traffic class, and the classes with which they come.

    traffic_classes.py watch COUNT ADDRESS PORT                        prints SENT>CAME for each datagram
    traffic_classes.py say PORT SOURCE DESTINATION CLASS[:BYTES]...    sends a datagram of each class
"""

import socket
import sys


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def watch(count, address, port):
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as sock:
        sock.bind((address, int(port)))
        if ":" in address:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        print("ready", flush=True)
        for _ in range(int(count)):
            data, ancillary, _, _ = sock.recvmsg(2048, 64)
            (_, _, value), = ancillary
            print(f"{data.partition(b' ')[0].decode()}>{value[0]}", flush=True)


def say(port, source, destination, *classes):
    with socket.socket(family_of(destination), socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        for text in classes:
            number, _, size = text.partition(":")
            if ":" in destination:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, int(number))
            else:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, int(number))
            sock.sendto(f"{number} ".encode().ljust(int(size or 20), b"."), (destination, int(port)))


if __name__ == "__main__":
    {"watch": watch, "say": say}[sys.argv[1]](*sys.argv[2:])
