"""Secrets: what is taken for one, and who is not shown them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.gateway.stand import TOKENS, gateway
from tests.peers import wait_until
from zmws.gateway.masks import MASK, has_secrets, is_secret, masked, unmasked
from zmws.testing import RunningBroker

API = "/api/v1/jobs"
SECRET = {"user": "ann", "password": "hush", "deep": [{"apiKey": "hush"}, {"x": {"Authorization": "hush"}}]}


@pytest.mark.parametrize(
    "key",
    [
        *("password", "Password", "db_password", "dbPassword", "PASSWORD", "passwd", "pwd", "passphrase"),
        *("token", "access_token", "accessToken", "X-Auth-Token", "secret", "client_secret", "clientSecret"),
        *("key", "api_key", "apiKey", "API-KEY", "apikey", "private.key", "authorization", "Authorization"),
        *("cookie", "credentials", "AWSSecretAccessKey", "otp", "jwt"),
    ],
)
def test_a_key_that_speaks_of_a_secret_is_one(key: str) -> None:
    assert is_secret(key)


@pytest.mark.parametrize(
    "key", ["monkey", "keyboard", "tokenize", "turkey", "author", "user", "", "pinned", "é", "1"]
)
def test_a_key_that_only_looks_like_it_is_none(key: str) -> None:
    assert not is_secret(key)


def test_all_below_a_secret_key_is_masked_and_nothing_else() -> None:
    assert masked(SECRET) == {
        "user": "ann",
        "password": MASK,
        "deep": [{"apiKey": MASK}, {"x": {"Authorization": MASK}}],
    }
    assert masked({"token": {"a": [1]}, "keys": None, "pin": ""}) == {"token": MASK, "keys": None, "pin": ""}
    for plain in ([1, "a", None], "password", 5, {"a": {"b": 1}}):
        assert masked(plain) == plain and not has_secrets(plain)
    assert has_secrets([[{"deep": {"pwd": 0}}]])


@pytest.mark.parametrize(
    ("changed", "result"),
    [
        ({"user": "bob", "password": MASK}, {"user": "bob", "password": "hush"}),
        ({"password": "new"}, {"password": "new"}),
        (
            {"deep": [{"apiKey": MASK}, {"x": {"Authorization": "new"}}]},
            {"deep": [{"apiKey": "hush"}, {"x": {"Authorization": "new"}}]},
        ),
        ({"other": MASK}, {"other": MASK}),
        ([MASK], [MASK]),
        (None, None),
    ],
)
def test_a_mask_that_was_left_stands_for_what_it_hides(changed: Any, result: Any) -> None:
    assert unmasked(changed, SECRET) == result


def test_a_viewer_is_shown_no_secrets_at_any_door_and_others_are(
    broker: RunningBroker, tmp_path: Path
) -> None:
    with gateway(broker, tmp_path, {"looks": "viewer", "asks": "client", "boss": "operator"}) as http:
        with http.client(TOKENS["boss"]) as ask:
            job_id = ask.post(
                API, json={"service": "ECHO", "params": SECRET, "meta": {"token": "hush"}}
            ).json()["id"]
            held = ask.post(API, json={"service": "HOLD", "params": {"key": "hush"}}).json()["id"]
            wait_until(lambda: ask.get(f"{API}/{job_id}").json()["state"] == "complete")
            wait_until(lambda: ask.get(f"{API}/{held}").json()["partials"])
        for name in ("looks", "asks", "boss"):
            with http.client(TOKENS[name]) as ask:
                answers = [ask.get(f"{API}/{path}") for path in (job_id, f"{job_id}/result", held)]
                texts = [answer.text for answer in answers]
                assert [answer.status_code for answer in answers] == [200] * 3
                assert ("hush" in "".join(texts)) == (name != "looks"), name
                assert "ann" in texts[0] and "ann" in texts[1]
