"""Addresses: endpoints to listen at, HOST:PORT, and the store's url."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

# Where a broker listens, unless it is told.
CLIENT, WORKER = "tcp://127.0.0.1:5555", "tcp://127.0.0.1:5556"
KEY_VARIABLE = "ZMWS_SECURITY_KEY"  # the key file of what connects
IPC_PATH_BYTES_MAX = 107  # sun_path of a Unix socket holds 108 with the final NUL

_HOST_PORT = re.compile(r"(?P<host>\*|[A-Za-z0-9_.-]+|\[[^\[\]]+\]):(?P<port>\*|[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """What a store's url says. `path` is of sqlite only, as it was written."""

    scheme: Literal["sqlite", "memory", "postgresql"]
    path: Path | None = None


class Bound(NamedTuple):
    """Where a broker listens, as it was said; what the settings say of keys; and the installation's folder,
    None where nobody has looked for it."""

    endpoint: str
    security: Mapping[str, Any]
    root: Path | None


_HOST_NAME = re.compile(r"\*|[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})")
_ORIGIN = re.compile(r"https?://[A-Za-z0-9_.-]+(?::\d{1,5})?|https?://\[[0-9a-fA-F:.]+\](?::\d{1,5})?")
_MODE = re.compile(r"0?[0-7]{3}")
_ROOT_PATH = re.compile(r"(?:/[A-Za-z0-9_.~-]+)*")
_TCP = re.compile(r"tcp://(\[[^\]]*\]|[^:]*):(\d+)")
_EVERY = ("*", "0.0.0.0", "[::]")  # hosts that stand for every address


def is_loopback(endpoint: str) -> bool:
    """Whether only this machine can reach the endpoint (or HOST:PORT); also true of "", turned off."""
    scheme, _, rest = endpoint.rpartition("://")
    if not endpoint or scheme in ("ipc", "inproc"):
        return True
    host = rest.rpartition(":")[0].removeprefix("[").removesuffix("]")
    if host in ("localhost", "127.0.0.1"):
        return True
    import ipaddress  # not at the top: `zmws call` must start fast

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def connectable(endpoint: str) -> str:
    """The address to connect to, of one that was bound: 0.0.0.0, * and [::] stand for every address."""
    for every, one in (("//0.0.0.0:", "//127.0.0.1:"), ("//*:", "//127.0.0.1:"), ("//[::]:", "//[::1]:")):
        endpoint = endpoint.replace(every, one)
    return endpoint


def seen_from(told: str, connected: str) -> str:
    """Where to reach what a broker has bound, seen from who connected to this endpoint of it: a wildcard
    stands for the host that it connected to."""
    found = _TCP.fullmatch(told)
    if found is None or found[1] not in _EVERY:
        return told
    own = _TCP.fullmatch(connected)
    host = "[::1]" if found[1] == "[::]" else "127.0.0.1"
    if own is not None and own[1] not in _EVERY:
        host = own[1]
    return f"tcp://{host}:{found[2]}"


def unknowable(name: str, endpoint: str) -> str:
    """What to say of a broker's endpoint that nobody can connect to: the system chooses its port or name."""
    return (
        f"{name} is {endpoint}, which lets the system choose, so that nobody else can know where the broker "
        "listens; set a port, or connect to the address that the broker logs when it starts"
    )


def check_endpoint(value: Any) -> None:
    """Whether it is an endpoint to listen at. Raises ValueError that says what is expected."""
    if isinstance(value, str) and value.isprintable():
        scheme, _, rest = value.partition("://")
        match = _HOST_PORT.fullmatch(rest)
        if (scheme == "tcp" and match is not None and _host_port_fits(match)) or (scheme == "ipc" and rest):
            return
    raise ValueError("tcp://HOST:PORT, tcp://[IPV6]:PORT or ipc://PATH")


def within(endpoint: str, root: Path) -> str:
    """The endpoint of an installation in this folder: the path of an ipc:// one is made absolute."""
    path = endpoint.removeprefix("ipc://")
    # libzmq: a name it makes up, an abstract socket of Linux.
    if path == endpoint or path == "*" or path.startswith("@"):
        return endpoint
    if len(os.fsencode(root / path)) > IPC_PATH_BYTES_MAX:
        raise ValueError(f"a path of at most {IPC_PATH_BYTES_MAX} bytes, with the installation folder")
    return f"ipc://{root / path}"


def parse_http(text: Any) -> tuple[str, int]:
    """HOST and PORT of `HOST:PORT` or `[IPV6]:PORT`. Raises ValueError that says what is expected."""
    match = _HOST_PORT.fullmatch(text) if isinstance(text, str) else None
    if match is None or match["port"] == "*" or match["host"] == "*" or not _host_port_fits(match):
        raise ValueError("HOST:PORT, such as 127.0.0.1:5580")
    return match["host"].removeprefix("[").removesuffix("]"), int(match["port"])


def names_in(given: Any) -> tuple[str, ...]:
    """The names in a list, or in one text with commas between. Raises ValueError for anything else."""
    parts = given.split(",") if isinstance(given, str) else given
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, str) for part in parts):
        raise ValueError("a list of texts")
    return tuple(stripped for part in parts if (stripped := part.strip()))


def parse_hosts(given: Any) -> tuple[str, ...]:
    """Names of hosts, `*` for any. Raises ValueError that says what is expected."""
    names = names_in(given)
    if not all(_HOST_NAME.fullmatch(name) for name in names):
        raise ValueError(
            'a list of host names without a port, such as ["jobs.example.org"], or ["*"] for any'
        )
    return tuple(name.lower() for name in names)


def parse_origins(given: Any) -> tuple[str, ...]:
    """Origins, as browsers send them. Raises ValueError that says what is expected."""
    names = names_in(given)
    if not all(_ORIGIN.fullmatch(name) for name in names):
        raise ValueError('a list of origins, such as ["https://app.example.org"]')
    return names


def parse_networks(given: Any) -> tuple[str, ...]:
    """Addresses, or networks of them. Raises ValueError that says what is expected."""
    import ipaddress

    names = names_in(given)
    try:
        for name in names:
            ipaddress.ip_network(name)
    except ValueError:
        raise ValueError('a list of addresses or networks, such as ["127.0.0.1", "10.0.0.0/8"]') from None
    return names


def parse_mode(given: Any) -> int:
    """The mode of a file, in octal. Raises ValueError that says what is expected."""
    if not isinstance(given, str) or not _MODE.fullmatch(given):
        raise ValueError('the mode of a file in octal, such as "0660"')
    return int(given, 8)


def parse_root_path(given: Any) -> str:
    """A path to put before all others, "" for none. Raises ValueError that says what is expected."""
    if not isinstance(given, str) or not _ROOT_PATH.fullmatch(given):
        raise ValueError('a path such as "/zmws", without a slash at its end')
    return given


def parse_store_url(url: Any) -> StoreUrl:
    """What `[store] url` names. Raises ValueError that says what is expected."""
    scheme, separator, rest = url.partition(":") if isinstance(url, str) else ("", "", "")
    if url == "memory:":
        return StoreUrl("memory")
    if separator and scheme in ("postgresql", "postgres") and rest.startswith("//") and rest.isprintable():
        return StoreUrl("postgresql")
    if separator and scheme == "sqlite" and rest.startswith("//"):
        raise ValueError("sqlite:PATH, without slashes in front of the path that are not its own")
    if separator and scheme == "sqlite" and rest.isprintable() and rest.strip("/. ") and rest[-1] not in "/.":
        return StoreUrl("sqlite", Path(rest))
    raise ValueError("sqlite:PATH, such as sqlite:var/zmws.db, postgresql://HOST/DATABASE, or memory:")


def without_password(url: str) -> str:
    """A store's url as others may see it."""
    hidden = _PASSWORD.sub(r"\1:***@", url)
    return _IN_QUERY.sub(r"\1***", hidden)


_PASSWORD = re.compile(r"(://[^/?#@:]*):[^/?#@]*@")
_IN_QUERY = re.compile(r"([?&](?:password|sslpassword)=)[^&#]*")


def place_taken(endpoint: str) -> str | None:
    """What two sockets cannot share: a port, whatever the host, or a path. None: nothing."""
    scheme, _, rest = endpoint.rpartition("://")
    if scheme == "ipc":
        return None if rest == "*" else endpoint
    port = rest.rpartition(":")[2]
    # Port 0 and `*` are any free port.
    return None if port in ("", "*") or int(port) == 0 else f"port {int(port)}"


def _host_port_fits(match: re.Match[str]) -> bool:
    """What the pattern cannot say: the port's range and the form of an address in brackets."""
    if match["port"] != "*" and int(match["port"]) > 65535:
        return False
    if match["host"].startswith("["):
        import ipaddress

        try:
            ipaddress.IPv6Address(match["host"][1:-1])
        except ValueError:
            return False
    return True
