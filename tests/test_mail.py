"""workers/mail.py, with a real SMTP server on a free port."""

from __future__ import annotations

import base64
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mailbox import Mailbox, served
from tests.peers import REPOSITORY
from zmws.testing import JobOutcome, run_job
from zmws.work.files import load_class

RECORD = {
    "id": "j1",
    "service": "SLEEP",
    "state": "failed",
    "params": {"text": "wörld"},
    "error": {"code": "job_failed", "error": "it broke", "traceback": "Traceback:\n  here\n"},
    "meta": None,
}
DIRECT = {"to": "you@example.com", "subject": "Hellö", "text": "How are you?\n.\nMe"}


@pytest.fixture
def mailbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    for name in ("ZMWS_SMTP_URL", "ZMWS_MAIL_FROM", "ZMWS_MAIL_TO", "ZMWS_MAIL_ALLOW"):
        monkeypatch.delenv(name, raising=False)
    with served(Mailbox()) as box:
        monkeypatch.setenv("ZMWS_SMTP_URL", f"smtp+plain://127.0.0.1:{box.port}")
        monkeypatch.setenv("ZMWS_MAIL_FROM", "zmws@example.com")
        monkeypatch.setenv("ZMWS_MAIL_TO", "me@example.com, ops@example.com")
        monkeypatch.setenv("ZMWS_MAIL_ALLOW", "example.com")
        yield box


def send(params: Any, **given: Any) -> JobOutcome:
    return run_job(load_class(REPOSITORY / "workers" / "mail.py"), params, **given)


def test_a_mail_is_sent(mailbox: Mailbox) -> None:
    done = send(DIRECT)
    [(sender, to, message)] = mailbox.got
    assert (sender, to) == ("zmws@example.com", ["you@example.com"])
    assert (message["From"], message["To"], message["Subject"]) == (
        "zmws@example.com",
        "you@example.com",
        "Hellö",
    )
    assert message["Date"] and message["Auto-Submitted"] == "auto-generated"
    assert message.get_content().splitlines() == ["How are you?", ".", "Me"]
    assert done.result == {"to": to, "message_id": message["Message-ID"]}


def test_a_repeat_is_recognised_by_its_message_id(mailbox: Mailbox) -> None:
    for job_id, attempt in (("a:b", 1), ("a:b", 2), ("c", 1)):
        assert send(DIRECT, job_id=job_id, attempt=attempt).ok
    ids = [message["Message-ID"] for _, _, message in mailbox.got]
    assert ids[0] == ids[1] != ids[2] and ids[0].endswith("@example.com>") and ":" not in ids[0]


def test_several_are_written_to_in_one_mail(mailbox: Mailbox) -> None:
    for named in ("a@example.com, b@example.com", ["a@example.com", "b@example.com"]):
        assert send(DIRECT | {"to": named}).ok
    assert [to for _, to, _ in mailbox.got] == [["a@example.com", "b@example.com"]] * 2


def test_the_record_of_a_job_becomes_a_mail_to_those_who_are_configured(mailbox: Mailbox) -> None:
    assert send(RECORD, job_id="j1:on_failed-1").ok
    [(_, to, message)] = mailbox.got
    assert to == ["me@example.com", "ops@example.com"] and message["Subject"] == "SLEEP failed: j1"
    text = message.get_content().replace("\r\n", "\n")
    assert text.startswith("it broke\nTraceback:\n  here\n") and '"text": "wörld"' in text
    assert send(RECORD | {"state": "complete", "error": None}).ok


def test_a_record_that_is_very_long_is_cut(mailbox: Mailbox) -> None:
    assert send(RECORD | {"result": "x" * 1_000_000}).ok
    assert len(mailbox.got[0][2].get_content()) < 110_000


def test_files_go_along(mailbox: Mailbox) -> None:
    content = bytes(range(256))
    files = [{"name": name, "base64": base64.b64encode(content).decode()} for name in ("ä.png", "b", "c.csv")]
    assert send(DIRECT | {"attachments": files}).ok
    found = list(mailbox.got[0][2].iter_attachments())
    assert [one.get_filename() for one in found] == ["ä.png", "b", "c.csv"]
    assert [one.get_content_type() for one in found] == ["image/png", "application/octet-stream", "text/csv"]
    assert all(one.get_payload(decode=True) == content for one in found)


@pytest.mark.parametrize(
    "wrong",
    [
        {"subject": None},
        {"subject": "a\nBcc: all@example.com"},
        {"subject": "a\rBcc: all@example.com"},
        {"text": 7},
        {"to": "you@example.com\nBcc: all@evil.example"},
        {"to": "Me <me@example.com>"},
        {"to": "me"},
        {"to": [7]},
        {"to": {"me@example.com": 1, "x": 2}},
        {"attachments": [{"name": "a"}]},
        {"attachments": [{"name": "a", "base64": "?"}]},
        {"attachments": [{"name": "a\nX-Y: z", "base64": ""}]},
        {"attachments": 7},
    ],
)
def test_what_is_no_mail_has_failed_for_good(mailbox: Mailbox, wrong: dict[str, Any]) -> None:
    failed = send({name: value for name, value in (DIRECT | wrong).items() if value is not None})
    assert failed.state == "failed" and not failed.retried and mailbox.got == []
    assert str(failed.message).startswith("this is no mail: ")


# ---------------------------------------------------------------- who may be written to


@pytest.mark.parametrize(
    ("allowed", "named", "is_sent"),
    [
        ("", "me@example.com", True),  # of ZMWS_MAIL_TO
        ("", "you@example.com", False),
        ("example.com", "you@Example.com", True),
        ("example.com", "you@sub.example.com", False),
        ("example.com", "you@badexample.com", False),
        ("example.com", "you@evil.example, a@example.com", False),
        ("example.com", "you%evil.example@example.com", True),  # it goes to example.com
        ("example.com", "you@evil.example@example.com", False),
        ("you@example.com, other.example", "YOU@example.com,x@other.example", True),
        ("you@example.com", "me2@example.com", False),
        ("*", "anybody@anywhere.example", True),
    ],
)
def test_a_job_names_those_only_who_are_listed(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, allowed: str, named: str, is_sent: bool
) -> None:
    monkeypatch.setenv("ZMWS_MAIL_ALLOW", allowed)
    done = send(DIRECT | {"to": named})
    assert (done.ok, len(mailbox.got)) == (is_sent, int(is_sent)), done
    assert not done.retried
    if allowed:
        assert send(RECORD | {"meta": {"mail": named}}).ok is is_sent


def test_without_a_list_the_meta_of_a_job_says_nothing(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZMWS_MAIL_ALLOW", "")
    for meta in ({"mail": "you@evil.example"}, "x", {}):
        assert send(RECORD | {"meta": meta}).ok
    assert {tuple(to) for _, to, _ in mailbox.got} == {("me@example.com", "ops@example.com")}
    monkeypatch.setenv("ZMWS_MAIL_TO", "")
    assert send(RECORD).message == "there is nobody to write to: set ZMWS_MAIL_TO"


@pytest.mark.parametrize("name", ["ZMWS_SMTP_URL", "ZMWS_MAIL_FROM"])
def test_without_a_server_the_job_fails_and_says_what_to_set(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(name)
    failed = send(DIRECT)
    assert not failed.retried and "no mail server is configured: set ZMWS_SMTP_URL" in str(failed.message)


@pytest.mark.parametrize(
    ("name", "value"), [("ZMWS_SMTP_URL", "http://mail.example"), ("ZMWS_MAIL_TO", "Me <me@example.com>")]
)
def test_settings_that_are_wrong_are_told_before_any_job(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError):
        send(DIRECT)


# ---------------------------------------------------------------- when the server refuses


@pytest.mark.parametrize("at", ["CONNECT", "MAIL", "RCPT", "DATA", "END", "AUTH"])
@pytest.mark.parametrize(("code", "retried"), [(451, True), (554, False)])
def test_a_refusal_for_now_is_tried_again_and_one_for_good_is_not(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, at: str, code: int, retried: bool
) -> None:
    monkeypatch.setenv("ZMWS_SMTP_URL", f"smtp+plain://me:p@127.0.0.1:{mailbox.port}")
    mailbox.says[at] = f"{code} because"
    failed = send(DIRECT)
    assert failed.state == "failed" and failed.retried is retried and failed.counted
    assert str(code) in str(failed.message) and "because" in str(failed.message)


def test_a_connection_that_breaks_is_tried_again(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for at in ("CONNECT", "MAIL", "DATA"):
        mailbox.says = {at: "HANG UP"}
        assert send(DIRECT).retried
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    monkeypatch.setenv("ZMWS_SMTP_URL", f"smtp+plain://127.0.0.1:{port}")
    failed = send(DIRECT)
    assert failed.retried and "ConnectionRefusedError" in str(failed.message)


def test_what_goes_wrong_after_the_mail_was_taken_does_not_send_it_again(mailbox: Mailbox) -> None:
    for said in ("451 no", "HANG UP"):
        mailbox.says = {"QUIT": said}
        assert send(DIRECT).ok


def test_who_has_the_mail_gets_it_no_second_time(mailbox: Mailbox) -> None:
    both = DIRECT | {"to": "a@example.com, b@example.com"}
    mailbox.says = {"RCPT b@example.com": "451 greylisted"}
    first = send(both)
    assert first.retried and first.saved == [["a@example.com"]] and "greylisted" in str(first.message)
    mailbox.says = {}
    assert send(both, attempt=2, saved=first.saved[-1]).ok
    assert [to for _, to, _ in mailbox.got] == [["a@example.com"], ["b@example.com"]]
    assert send(both, attempt=3, saved=["a@example.com", "b@example.com"]).ok and len(mailbox.got) == 2
    mailbox.says = {"RCPT b@example.com": "550 nobody"}
    assert not send(both).retried


# ---------------------------------------------------------------- encrypted


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One for 127.0.0.1, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed, which makes the certificate")
    folder = tmp_path_factory.mktemp("certificate")
    made, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=me"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(made), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return made, key


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_login_goes_over_tls(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, certificate: tuple[Path, Path], scheme: str
) -> None:
    mailbox.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    mailbox.tls.load_cert_chain(*certificate)
    mailbox.offers_tls = scheme == "smtp"
    monkeypatch.setenv("ZMWS_SMTP_URL", f"{scheme}://me%40x:p%3A%2Fw@127.0.0.1:{mailbox.port}")
    unknown = send(DIRECT)  # nobody vouches for it
    assert unknown.retried and "CERTIFICATE_VERIFY_FAILED" in str(unknown.message)
    assert mailbox.logins == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    assert send(DIRECT).ok
    assert mailbox.logins == ["\0me@x\0p:/w"] and len(mailbox.got) == 1


def test_a_server_without_tls_gets_neither_password_nor_mail(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZMWS_SMTP_URL", f"smtp://me:secret@127.0.0.1:{mailbox.port}")
    failed = send(DIRECT)
    assert failed.state == "failed" and "STARTTLS" in str(failed.message)
    assert mailbox.logins == [] and mailbox.got == []
