"""Secrets in parameters and results: masked on pages until an operator reveals them, for viewers everywhere.

Rule: what stands under a key that speaks of a secret is masked in whole, whatever it is and however deep.
"""

from __future__ import annotations

import re
from typing import Any

PARTS = ("params", "result", "meta", "partials")  # of a record, that may hold secrets
MASK = "••••••"
_SECRETS = frozenset(
    (
        *("password", "passwd", "passphrase", "pwd", "secret", "secrets", "token", "tokens", "key", "keys"),
        *("apikey", "authorization", "auth", "credential", "credentials", "cookie", "cookies", "signature"),
        *("pin", "otp", "jwt", "bearer"),
    )
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_JOINED = re.compile(
    r"passw|passphrase|secret|apikey|authoriz|credential|accesstoken|privatekey", re.IGNORECASE
)


def is_secret(key: str) -> bool:
    """Whether a key speaks of a secret: `api_key`, `accessToken`, `X-Auth-Token`, and not `monkey`."""
    return any(word.lower() in _SECRETS for word in _WORDS.findall(key)) or bool(_JOINED.search(key))


def masked(value: Any) -> Any:
    """The value with all secrets masked; itself where there are none."""
    if isinstance(value, dict):
        return {
            key: MASK if isinstance(key, str) and is_secret(key) and one not in (None, "") else masked(one)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [masked(one) for one in value]
    return value


def has_secrets(value: Any) -> bool:
    """Whether something of it is masked."""
    if isinstance(value, dict):
        return any(
            (isinstance(key, str) and is_secret(key) and one not in (None, "")) or has_secrets(one)
            for key, one in value.items()
        )
    return isinstance(value, list) and any(has_secrets(one) for one in value)


def unmasked(changed: Any, known: Any) -> Any:
    """A value that was shown masked and has been changed, with the secrets of the known one where it still
    has their masks."""
    if changed == MASK:
        return known
    if isinstance(changed, dict) and isinstance(known, dict):
        return {key: unmasked(one, known.get(key, one)) for key, one in changed.items()}
    if isinstance(changed, list) and isinstance(known, list) and len(changed) == len(known):
        return [unmasked(one, before) for one, before in zip(changed, known, strict=True)]
    return changed


def record_masked(record: dict[str, Any]) -> dict[str, Any]:
    """A job's record with the secrets of its parameters, results and meta masked."""
    return {**record, **{name: masked(record[name]) for name in PARTS if name in record}}
