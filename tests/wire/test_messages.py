"""Messages as values: what they are where nothing is said."""

from __future__ import annotations

from zmws.wire.messages import (
    DISCONNECT,
    RFC,
    Beat,
    Heartbeat,
    Link,
    Partial,
    Progress,
    ReplyTo,
    Report,
    ServiceInfo,
    WorkerFinal,
    WorkerInfo,
    WorkerPartial,
)


def test_where_nothing_is_said_a_message_is_the_plainest() -> None:
    assert Link() == Link(RFC, empty=False, ascii=False, ours=False)
    assert ReplyTo("bare", ()).ascii is False
    assert WorkerInfo("w") == WorkerInfo("w", [], [], 1, None, "", None, None)
    assert ServiceInfo() == ServiceInfo(None)
    assert WorkerFinal(b"t", ()) == WorkerFinal(b"t", (), None, None)
    assert WorkerPartial(b"t", ()).link is None
    assert Heartbeat() == Heartbeat((), None) and DISCONNECT is not None
    assert Report(True) == Report(True, (), True, {}, True, None, True)
    assert Partial(()).plain is True and Progress(0.5).text is None
    assert Beat() == Beat([], None, [], None, None)
