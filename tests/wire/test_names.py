"""The names of services, and what may stand before them."""

from __future__ import annotations

import pytest

from zmws.errors import ProtocolError
from zmws.wire.names import (
    TOKEN_BYTES_MAX,
    bad_token,
    is_reserved,
    service_and_mode,
    service_name_fault,
    service_text,
)


@pytest.mark.parametrize(
    ("name", "fault", "strict_fault"),
    [
        ("", "is empty", "is empty"),
        ("x", None, None),
        ("x" * 255, None, None),
        ("x" * 256, "longer than 255 bytes", "longer than 255 bytes"),
        ("é" * 127, None, None),
        ("é" * 128, "longer than 255 bytes", "longer than 255 bytes"),
        ("a\n", "not printable", "not printable"),
        ("SYNC-x", "begins with a prefix", None),
        ("JOB:x", "begins with a prefix", None),
        ("xSYNC-", None, None),
        ("a b", "holds a space", None),
        ("a[", "holds a space", None),
        ("a]", "holds a space", None),
        ("a/b", "holds a space", None),
    ],
)
def test_what_is_wrong_with_a_name(name: str, fault: str | None, strict_fault: str | None) -> None:
    for found, expected in (
        (service_name_fault(name), fault),
        (service_name_fault(name, strict=True), strict_fault),
    ):
        assert (found is None) if expected is None else (found is not None and expected in found)


@pytest.mark.parametrize(
    ("name", "reserved"),
    [
        ("mmi.x", True),
        ("zmws.x", True),
        ("SERVER-x", True),
        ("mmi", False),
        ("server-x", False),
        ("x.mmi.", False),
    ],
)
def test_some_names_are_the_brokers_own(name: str, reserved: bool) -> None:
    assert is_reserved(name) is reserved


@pytest.mark.parametrize(
    ("frame", "name", "sync"),
    [
        (b"E", "E", False),
        (b"SYNC-E", "E", True),
        (b"JOB: E", "E", False),
        (b"JOB:E", "E", False),
        (b"JOB:  E", " E", False),
        (b"JOB: SYNC-E", "E", True),
        (b"SYNC-JOB: E", "JOB: E", True),
    ],
)
def test_a_prefix_says_how_a_name_is_meant(frame: bytes, name: str, sync: bool) -> None:
    assert service_and_mode(frame, to_the_letter=False) == (name, sync)
    assert service_and_mode(frame, to_the_letter=True) == (frame.decode(), True)


@pytest.mark.parametrize("prefix", [b"", b"SYNC-", b"JOB: ", b"JOB: SYNC-"])
def test_a_name_of_255_bytes_fits_with_its_prefixes_and_a_longer_one_stays_too_long(prefix: bytes) -> None:
    assert service_and_mode(prefix + b"x" * 255, to_the_letter=False)[0] == "x" * 255
    for length in (256, 300, 100_000):
        name = service_and_mode(prefix + b"x" * length, to_the_letter=False)[0]
        assert 255 < len(name) <= 266
    assert len(service_text(b"x" * 1_000)) == 266


def test_a_name_that_is_no_utf_8_and_a_token_that_is_too_long_are_the_peers_fault() -> None:
    with pytest.raises(ProtocolError) as wrong:
        service_text(b"\xff")
    assert wrong.value.reason == "bad_service"
    assert (
        TOKEN_BYTES_MAX == 255 and bad_token(b"abc").reason == "bad_token" and "3" in str(bad_token(b"abc"))
    )
