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
        *("pin", "otp", "jwt", "bearer", "pass", "dsn", "cvv", "cvc", "sessionid", "session"),
    )
)
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_JOINED = re.compile(
    r"passw|passphrase|secret|apikey|authoriz|credential|privatekey|token$|pwd$|connectionstring", re.I
)
# Words that make a key of another kind of the one behind them: `sort_key`, `max_tokens`.
_OTHER = frozenset(
    (
        *("primary", "foreign", "sort", "partition", "cache", "routing", "unique", "group", "idempotency"),
        *("max", "min", "num", "total", "prompt", "completion", "input", "output", "count"),
    )
)
_ADDRESS = re.compile(r"(\w://[^/\s:@]*:)[^@/\s]+@")  # with a password in it
_NAMES = ("name", "key", "header", "field")  # beside a "value", as headers are often told


def is_secret(key: str) -> bool:
    """Whether a key speaks of a secret: `api_key`, `accessToken`, `X-Auth-Token`, and not `monkey`."""
    words = [word.lower() for word in _WORDS.findall(key)]
    if len(words) > 1 and words[-1] in ("key", "keys", "tokens") and words[-2] in _OTHER:
        return False
    return any(word in _SECRETS for word in words) or bool(_JOINED.search("".join(words)))


def _hides(key: Any, value: Any, beside: dict[Any, Any]) -> bool:
    if not isinstance(key, str) or value in (None, ""):
        return False
    if key == "value":
        return any(isinstance(name := beside.get(one), str) and is_secret(name) for one in _NAMES)
    return is_secret(key) and not (key in _NAMES and "value" in beside)


def masked(value: Any) -> Any:
    """The value with all secrets masked; itself where there are none."""
    if isinstance(value, dict):
        return {key: MASK if _hides(key, one, value) else masked(one) for key, one in value.items()}
    if isinstance(value, str):
        return _ADDRESS.sub(rf"\1{MASK}@", value)
    return [masked(one) for one in value] if isinstance(value, list) else value


def has_secrets(value: Any) -> bool:
    """Whether something of it is masked."""
    if isinstance(value, dict):
        return any(_hides(key, one, value) or has_secrets(one) for key, one in value.items())
    if isinstance(value, str):
        return bool(_ADDRESS.search(value))
    return isinstance(value, list) and any(has_secrets(one) for one in value)


def marked(value: Any) -> tuple[Any, dict[str, Any]]:
    """The value with a mask of its own for each secret, and the secrets by these masks: it may be changed,
    turned around and cut, and each secret still stands where its mask does."""
    secrets: dict[str, Any] = {}

    def walk(one: Any) -> Any:
        if isinstance(one, dict):
            return {key: hide(part) if _hides(key, part, one) else walk(part) for key, part in one.items()}
        if isinstance(one, str) and _ADDRESS.search(one):
            return hide(one)
        return [walk(part) for part in one] if isinstance(one, list) else one

    def hide(secret: Any) -> str:
        mask = f"{MASK}{len(secrets) + 1}"
        secrets[mask] = secret
        return mask

    return walk(value), secrets


def unmarked(changed: Any, secrets: dict[str, Any]) -> Any:
    """What was `marked` and has been changed, with its secrets. Raises ValueError for a mask of none."""
    if isinstance(changed, str) and changed.startswith(MASK):
        if changed not in secrets:
            raise ValueError(f"{changed} is the mask of no secret of this job; write what is to stand there")
        return secrets[changed]
    if isinstance(changed, dict):
        return {key: unmarked(one, secrets) for key, one in changed.items()}
    return [unmarked(one, secrets) for one in changed] if isinstance(changed, list) else changed


def record_masked(record: dict[str, Any]) -> dict[str, Any]:
    """A job's record with the secrets of its parameters, results and meta masked."""
    return {**record, **{name: masked(record[name]) for name in PARTS if name in record}}


def record_for_viewers(record: dict[str, Any]) -> dict[str, Any]:
    """The same; of parameters in which no key can be seen (bytes, frames, what PHP serialised) nothing."""
    seen = record_masked(record)
    told = seen.get("params")
    if isinstance(told, dict) and "params" in told and "params_kind" in told:
        # A job that is told of the end of another has that one's record as its own parameters.
        seen |= {"params": record_for_viewers(told)}
    if seen.get("params_kind") not in (None, "json"):
        seen |= {"params": MASK, "params_kind": "json"}
    return seen


def batch_for_viewers(row: dict[str, Any]) -> dict[str, Any]:
    """A batch with the secrets of its meta masked."""
    return {**row, "meta": masked(row["meta"])}


def schedule_masked(row: dict[str, Any]) -> dict[str, Any]:
    """A schedule with the secrets of its parameters and of the meta of its jobs masked."""
    return {**row, "params": masked(row["params"]), "options": masked(row["options"])}


def schedule_for_viewers(row: dict[str, Any]) -> dict[str, Any]:
    """The same; of parameters in which no key can be seen nothing."""
    seen = schedule_masked(row)
    return seen if row["params_kind"] in (None, "json") else seen | {"params": MASK, "params_kind": "json"}
