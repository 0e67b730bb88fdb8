"""Where the page is served: a socket of this machine, and the names by which the page may be called."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress

from labelwise.errors import InputError
from labelwise.files import printable

USUAL_PORT = 8642
EVERYWHERE = ("0.0.0.0", "::", "")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens; without a ``port`` on the usual one, or a free one where that is taken.

    Raises InputError where that cannot be.
    """
    if port is not None:
        return _listen(host, port)
    try:
        return _listen(host, USUAL_PORT)
    except InputError:
        return _listen(host, 0)


def names_of(host: str) -> list[str]:
    """The names in addresses of a page served on the host; the first is the one to show."""
    if is_loopback(host):
        return [_in_address(host), "localhost"]
    if host not in EVERYWHERE:
        return [_in_address(host)]
    name = socket.gethostname().lower()
    found = [_outward_address(), name, "localhost", "127.0.0.1", "[::1]"]
    with suppress(OSError):
        found += [_in_address(str(entry[4][0])) for entry in socket.getaddrinfo(name, None)]
    return [each for each in dict.fromkeys(found) if each is not None]


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host.lower()


def _outward_address() -> str | None:
    """The address that other machines see, None where there is no network; nothing is sent."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return None


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        # Who opens the address before the server runs is kept waiting instead of turned away.
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        raise InputError(
            f"cannot listen on {printable(host)}:{port} ({error}): choose another --host or --port"
        ) from None
    return listener
