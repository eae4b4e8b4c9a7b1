"""Secrets: what is taken for one, and who is not shown them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.stand import TOKENS, gateway
from tests.peers import wait_until
from zmws.gateway.masks import MASK, has_secrets, is_secret, marked, masked, record_for_viewers, unmarked
from zmws.testing import RunningBroker

API = "/api/v1/jobs"
SECRET = {"user": "ann", "password": "hush", "deep": [{"apiKey": "hush"}, {"x": {"Authorization": "hush"}}]}


@pytest.mark.parametrize(
    "key",
    [
        *("password", "Password", "db_password", "dbPassword", "PASSWORD", "passwd", "pwd", "passphrase"),
        *("token", "access_token", "accessToken", "X-Auth-Token", "secret", "client_secret", "clientSecret"),
        *("key", "api_key", "apiKey", "API-KEY", "apikey", "private.key", "authorization", "Authorization"),
        *("cookie", "credentials", "AWSSecretAccessKey", "otp", "jwt", "pass", "DB_PASS", "userpwd"),
        *("refreshtoken", "authtoken", "session_id", "dsn", "connection_string", "cvv", "private_key"),
    ],
)
def test_a_key_that_speaks_of_a_secret_is_one(key: str) -> None:
    assert is_secret(key)


@pytest.mark.parametrize(
    "key",
    [
        *("monkey", "keyboard", "tokenize", "turkey", "author", "user", "", "pinned", "é", "1", "passenger"),
        *("primary_key", "sortKey", "foreign-keys", "max_tokens", "promptTokens", "compass"),
    ],
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


def test_each_secret_goes_where_its_mask_stands_however_the_rest_is_changed() -> None:
    users = [
        {"name": "ann", "password": "A"},
        {"name": "bob", "password": "B"},
        {"name": "cy", "password": ""},
    ]
    shown, secrets = marked({"users": users, "url": "postgres://u:pw@h/db"})
    ann, bob, cy = shown["users"]
    assert ann == {"name": "ann", "password": f"{MASK}1"} and cy == users[2] and "pw" not in str(shown)
    turned = unmarked({"users": [bob, ann]}, secrets)
    assert turned == {"users": [users[1], users[0]]}
    assert unmarked({"users": [cy, {**bob, "name": "new"}], "url": shown["url"]}, secrets) == {
        "users": [users[2], {"name": "new", "password": "B"}],
        "url": "postgres://u:pw@h/db",
    }
    assert unmarked({"users": [{**ann, "password": "new"}]}, secrets) == {
        "users": [{"name": "ann", "password": "new"}]
    }


@pytest.mark.parametrize("left", [MASK, f"{MASK}9", f"{MASK}1x"])
def test_a_mask_of_nothing_is_refused_and_never_submitted(left: str) -> None:
    _, secrets = marked(SECRET)
    with pytest.raises(ValueError, match="mask of no secret"):
        unmarked({"deep": [{"x": left}]}, secrets)


def test_headers_and_addresses_that_hold_a_secret_are_masked() -> None:
    header = {"name": "Authorization", "value": "Basic hush"}
    assert masked([header, {"name": "Accept", "value": "text/html"}]) == [
        {**header, "value": MASK},
        {"name": "Accept", "value": "text/html"},
    ]
    assert masked({"at": "postgres://ann:hush@host/db"}) == {"at": f"postgres://ann:{MASK}@host/db"}
    assert masked("see https://host/a:b@c") == "see https://host/a:b@c"
    assert has_secrets([header]) and has_secrets("redis://:hush@host") and not has_secrets("http://host")


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


def test_a_job_that_is_told_of_anothers_end_shows_a_viewer_no_bytes_of_that_one() -> None:
    inner = {"id": "a", "params": {"base64": "aHVzaA=="}, "params_kind": "bytes", "result": {"token": "hush"}}
    record = {"params": inner, "params_kind": "json", "result": None, "meta": None, "partials": []}
    seen = record_for_viewers(record)
    assert seen["params"]["params"] == MASK and seen["params"]["result"] == {"token": MASK}
    assert record_for_viewers({**record, "params": {"params": {"a": 1}}})["params"] == {"params": {"a": 1}}
