"""Keys, as every store keeps them."""

from __future__ import annotations

from dataclasses import replace

from tests.store.contract import unfinished
from zmws.core.rows import KeyRow
from zmws.core.writes import WriteKey
from zmws.store.base import Store

ANN = KeyRow(
    name="ann",
    kind="curve",
    proof="p" * 40,
    role="client",
    rights={"submit": ("MIX", "T-*")},
    group="g",
    rate=0.5,
    waiting_max=7,
    made_at=1.0,
    by="root",
)


def test_a_key_is_as_it_was_written_last(store: Store) -> None:
    other = KeyRow(name="Bob", kind="token", proof="0" * 64, role=None, rights={})
    store.commit([WriteKey(ANN), WriteKey(other)])
    assert unfinished(store).keys == [other, ANN], "by name, byte by byte"
    changed = replace(ANN, rate=None, group=None, rights={"look": ("*",)}, revoked_at=2.5)
    store.commit([WriteKey(changed)])
    assert unfinished(store).keys == [other, changed]


def test_a_key_that_is_given_another_name_leaves_its_own_to_another(store: Store) -> None:
    store.commit([WriteKey(ANN)])
    before, new = replace(ANN, name="ann~1", revoked_at=3.0), replace(ANN, proof="q" * 40)
    store.commit([WriteKey(before), WriteKey(new)])
    assert unfinished(store).keys == [new, before]
