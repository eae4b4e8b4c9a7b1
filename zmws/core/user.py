"""Who is behind a connection, as the third part of a peer has it: a public key and an address; "" where
nobody was asked; and how somebody is called who comes by HTTP."""

from __future__ import annotations

PUBLIC_CHARS = 40  # of a key in Z85


def user_of(public: str, address: str) -> str:
    """Who is behind a connection, as a peer's third part has it."""
    return f"{public} {address}"


def public_of(user: str) -> str:
    """By which key."""
    return user[:PUBLIC_CHARS]


def address_of(user: str) -> str:
    """Where he is."""
    return user[PUBLIC_CHARS + 1 :]


def by_http(name: str) -> str:
    """How the broker is told of somebody who asks by HTTP."""
    return f"{name}{_BY_HTTP}"


def name_in(by: str) -> str:
    """The name of the key or token of somebody who asks, however he does."""
    return by.removesuffix(_BY_HTTP)


_BY_HTTP = " (http)"


def is_chosen(routing_id: bytes) -> bool:
    """Whether a program has chosen it. (Those that libzmq draws are a zero byte and 32 bits.)"""
    return len(routing_id) != 5 or routing_id[0] != 0


CHOSEN = (
    "it has chosen its routing id (ZMQ_ROUTING_ID, ZMQ_IDENTITY), which another key could claim; "
    "set none where keys are asked for"
)
