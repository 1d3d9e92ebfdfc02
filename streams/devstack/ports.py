"""Free ports on the loopback interface.

They lie below the range from which the kernel assigns ports to outgoing connections: a port from
that range may be in use when a stopped service needs it again, and a client that keeps connecting
to it can even connect to itself.
"""

from __future__ import annotations

import random
import socket
import time
from pathlib import Path

from streams.errors import PortTaken

LOOPBACK = "127.0.0.1"
LOWEST = 10240
_GRACE_SECONDS = 1.0
"""The kernel may still be closing the sockets of a process that was killed."""
_PROC = Path("/proc")


def highest() -> int:
    """The highest port that the kernel does not assign to outgoing connections."""
    try:
        text = (_PROC / "sys/net/ipv4/ip_local_port_range").read_text()
    except OSError:
        return 32767
    first = int(text.split()[0])
    return first - 1 if first > LOWEST + 1000 else 32767


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def choose(count: int, avoid: set[int] | None = None) -> list[int]:
    """`count` different free ports, none of them in `avoid`."""
    chosen: list[int] = []
    candidates = list(range(LOWEST, highest() + 1))
    random.shuffle(candidates)
    for port in candidates:
        if len(chosen) == count:
            break
        if port not in (avoid or ()) and is_free(port):
            chosen.append(port)
    if len(chosen) < count:
        raise PortTaken(f"No {count} free ports between {LOWEST} and {highest()}")
    return chosen


def require_free(service: str, ports: dict[str, int]) -> None:
    """Raise PortTaken, with the process that holds the port if it can be found."""
    end = time.monotonic() + _GRACE_SECONDS
    for role, port in ports.items():
        while not is_free(port) and time.monotonic() < end:
            time.sleep(0.05)
        if not is_free(port):
            holder = _holder(port)
            raise PortTaken(
                f"{service} cannot listen: port {port} is in use"
                + (f" by {holder}" if holder else ""),
                where={"service": service, "listener": role, "port": port},
                todo="End that process, or `scrutin stack down` and `up` to choose other ports",
            )


def _holder(port: int) -> str:
    """`pid 12 (name)` of the process that listens on a port, if it is visible."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    for entry in _PROC.iterdir():
        if not entry.name.isdigit() or not inodes:
            continue
        try:
            if any(str(link.readlink()) in inodes for link in (entry / "fd").iterdir()):
                return f"pid {entry.name} ({(entry / 'comm').read_text().strip()})"
        except OSError:
            continue
    return ""
