"""Sends IPv4 packets unchanged, with any source address: `send_raw.py HEX...`."""

import socket
import sys

DESTINATION = slice(16, 20)


def main(packets):
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for packet in map(bytes.fromhex, packets):
            raw.sendto(packet, (socket.inet_ntoa(packet[DESTINATION]), 0))


if __name__ == "__main__":
    main(sys.argv[1:])
