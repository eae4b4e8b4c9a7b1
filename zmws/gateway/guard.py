"""Who may come in: the host that is asked for, the page that asks, and who it is (docs/http.md, Safe by
default).

Rule 1: only a known name is answered (DNS rebinding): localhost, addresses, and what `hosts` lists.
Rule 2: what changes something is refused to pages of other sites: by `Sec-Fetch-Site`, and by `Origin`.
Rule 3: as soon as there is one token, everybody needs one. Without any everybody may everything on the
        loopback; off it nobody may anything, for the last one has just been deleted.
Rule 4: what a proxy says in X-Forwarded-* counts only if it comes from one of `trusted_proxies`.
"""

from __future__ import annotations

import contextlib
import ipaddress
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from zmws.gateway.problems import Problem
from zmws.gateway.tokens import ANYBODY, Role, Tokens, Who
from zmws.settings import GatewaySettings
from zmws.settings.addresses import is_loopback, parse_http, parse_root_path

_KNOWN_MAX = 1_000
_FOREIGN = ("cross-site", "same-site")


@dataclass(frozen=True, slots=True)
class Visit:
    """How a request came: the host it is for, as the browser knows it; https or http; what to put before
    paths."""

    host: str
    scheme: str
    prefix: str


class Guard:
    """Decides, and raises Problem."""

    def __init__(self, settings: GatewaySettings, tokens: Tokens) -> None:
        self.tokens = tokens
        self._settings = settings
        self._networks = [ipaddress.ip_network(name) for name in settings.trusted_proxies]
        bound, port = parse_http(settings.http) if settings.http else ("", 0)
        self.cookie = f"zmws-{port}"  # a browser sends those of a host to all its ports
        self._needs_no_token = is_loopback(settings.http) and not settings.trusted_proxies
        self._hosts = {"localhost", bound.lower(), *settings.hosts}
        self._origins = frozenset(settings.origins)
        self._known: set[str] = set()  # Host headers that were found to be good

    @property
    def needs_token(self) -> bool:
        """Whether nobody comes in without one."""
        return not self._needs_no_token or self.tokens.were_any or not self.tokens.is_known

    def visit(self, headers: Headers, peer: str | None) -> Visit:
        """How this request came. Raises Problem for a host that is not known."""
        host, scheme, prefix = headers.get("host", ""), "http", self._settings.root_path
        if self._networks and self._is_trusted(peer):
            host = _nearest(headers, "x-forwarded-host") or host
            scheme = _nearest(headers, "x-forwarded-proto").lower() or scheme
            said = _nearest(headers, "x-forwarded-prefix").rstrip("/")
            with contextlib.suppress(ValueError):  # it goes into Location and the cookie: a plain path
                prefix = parse_root_path(said) or prefix
        if not self._knows(host):
            text = (
                f"the host {host[:100]!a} is not one of this gateway's; if it should be, add its name to "
                "'hosts' in [gateway] of the settings"
            )
            raise Problem(421, "wrong_host", text)
        return Visit(host, "https" if scheme == "https" else "http", prefix)

    def _is_trusted(self, peer: str | None) -> bool:
        try:
            address = ipaddress.ip_address(peer or "")
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address  # of a socket that takes both kinds
        return any(address in network for network in self._networks)

    def _knows(self, host: str) -> bool:
        if host in self._known:
            return True
        known = self._looks_known(host)
        if known and len(self._known) < _KNOWN_MAX:
            self._known.add(host)
        return known

    def _looks_known(self, host: str) -> bool:
        name = host_name(host)
        if name is None:
            return False
        if name in self._hosts or "*" in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True  # only a name can be made to stand for another address

    def check_page(self, headers: Headers, visit: Visit) -> None:
        """Raises Problem where a page of another site asks for what changes something, or nobody has asked
        yet."""
        if "prefetch" in headers.get("sec-purpose", headers.get("purpose", "")):
            raise Problem(503, "wrong_origin", "a browser asks for this before anybody wants it")
        origin = headers.get("origin")
        if origin is not None and origin in self._origins:
            return
        if origin is not None and not _is_of(origin, visit.host):
            text = (
                f"the page of {origin[:100]!a} may not do this here; if it should, add it to 'origins' in "
                "[gateway]; if it is this gateway's own page behind a proxy, add that to 'trusted_proxies'"
            )
            raise Problem(403, "wrong_origin", text)
        if origin is None and headers.get("sec-fetch-site") in _FOREIGN:
            raise Problem(403, "wrong_origin", "a page of another site may not do this here")

    @staticmethod
    def check_own_page(headers: Headers, visit: Visit) -> None:
        """Raises Problem unless it is sure that a page of this gateway asks, or nobody's. For a GET that
        changes something and comes with a cookie: over plain HTTP a browser does not say where it comes
        from."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if site not in ("same-origin", "none") and not (origin is not None and _is_of(origin, visit.host)):
            text = (
                "with a login a GET that submits is for this gateway's own pages; POST it, or send the token"
            )
            raise Problem(403, "wrong_origin", text)

    def who(self, headers: Headers) -> Who | None:
        """Who asks; None if nobody who is known. Raises Problem for a token that is none."""
        if not self.needs_token:
            return ANYBODY
        given = headers.get("authorization")
        if given is not None:
            kind, _, token = given.partition(" ")
            who = self.tokens.who(token.strip()) if kind.lower() == "bearer" else None
            if who is None:
                raise unknown("this is no token of this gateway")
            return who
        cookie = _cookie(headers, self.cookie)
        return self.tokens.who_has(cookie, time.time()) if cookie else None

    def check_role(self, who: Who | None, roles: tuple[Role, ...]) -> Who:
        """Who asks, if this is for one of these roles. Raises Problem."""
        if who is None and not self.tokens.is_known:
            raise Problem(503, "no_broker", "the broker has not said yet which tokens there are")
        if who is None:
            raise unknown("this needs a token: Authorization: Bearer TOKEN")
        if not who.may(roles):
            needed = " or ".join(dict.fromkeys([*roles, "operator"]))
            text = f"the token '{who.name}' is for a {who.role}, and this needs one for a {needed}"
            raise Problem(403, "not_allowed", text)
        return who


def host_name(host: str) -> str | None:
    """The name in a Host header, in lower case and without its port; None for what is none."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises, if that is no number
    except ValueError:
        return None
    if parts.netloc != host or parts.username is not None or parts.path or "?" in host or "#" in host:
        return None
    return parts.hostname.removesuffix(".") if parts.hostname else None


def _is_of(origin: str, host: str) -> bool:
    """Whether a page of this origin is of this host. A port that is the scheme's own may be left out."""
    try:
        page = urlsplit(origin)
        ours = urlsplit(f"{page.scheme}://{host}")
        own = {"http": 80, "https": 443}.get(page.scheme)
        return bool(page.hostname) and (page.hostname, page.port or own) == (ours.hostname, ours.port or own)
    except ValueError:
        return False


def joined(headers: Headers, name: str, between: str = ", ") -> str | None:
    """A header that may stand in several lines (RFC 9110, 5.3); None where there is none."""
    lines = headers.getlist(name)
    return between.join(lines) if lines else None


def _cookie(headers: Headers, name: str) -> str | None:
    """The value of a cookie of ours, which is never quoted; of several of one name the last. Others are not
    looked into: what Python does to take quotes off takes the square of a cookie's length."""
    found = None
    for pair in (joined(headers, "cookie", "; ") or "").split(";"):
        key, _, value = pair.partition("=")
        if key.strip() == name:
            found = value.strip()
    return found


def _nearest(headers: Headers, name: str) -> str:
    """What the nearest proxy has said."""
    return (joined(headers, name) or "").rpartition(",")[2].strip()


def unknown(text: str) -> Problem:
    """There is no token, or one that is none."""
    return Problem(401, "no_token", text, {"www-authenticate": 'Bearer realm="zmws"'})
