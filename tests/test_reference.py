"""docs/reference.md is what the docstrings say now, and everything that users import has one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reference import COMMAND, FILE, Group, Reference, Unfit


def test_the_reference_is_as_the_docstrings_are() -> None:
    made = Reference().text()
    assert FILE.read_text(encoding="utf-8") == made, f"docs/reference.md is out of date; run: {COMMAND}"


def test_the_reference_shows_what_a_newcomer_looks_for() -> None:
    text = Reference().text()
    assert "### WorkerBase\n" in text and "#### Client.submit\n" in text and "### zmws_client\n" in text
    assert "def run_job(\n    worker: type[WorkerBase] | WorkerBase | Callable[..., Any],\n" in text
    assert "| `deadline` | `float` |" in text and "| `ok` | `bool` | Whether the job completed. |" in text
    assert "#### Client.close\n" in text, "what a base class has"
    assert "def lease(service: str, wait: Seconds = 0.0, ttr: Seconds = 60.0)" in text, "no constant's name"
    assert "@classmethod\ndef main(" in text
    assert "_steps(" not in text and "#### JobCancelled.of" not in text


# ---- that the checks can fail: a small package of its own ----

_PACKAGE = {
    "__init__.py": 'from zmws.work import Told, Worker\n\n__all__ = ["Told", "Worker"]\n',
    "testing.py": "__all__ = []\n",
    "work.py": (
        'class Worker:\n    """Works."""\n\n'
        "    def __init__(self, size: int) -> None:\n        self.size = size  # in bytes\n\n"
        '    def run(self) -> int:\n        """Runs."""\n        return 1\n\n\n'
        'class Told(Worker):\n    """Is told."""\n'
    ),
}
_GROUPS = (Group("Workers", "zmws", ["Worker", "Told"], made=["Worker"]),)


def _text(root: Path, changes: dict[str, str], groups: tuple[Group, ...] = _GROUPS) -> str:
    for name, text in {**_PACKAGE, **changes}.items():
        (root / "zmws").mkdir(exist_ok=True)
        (root / "zmws" / name).write_text(text)
    return Reference(root, groups).text()


def test_a_package_that_tells_all_has_a_reference(tmp_path: Path) -> None:
    text = _text(tmp_path, {})
    assert "class Worker(size: int)\n" in text and "| `size` | `int` | in bytes |" in text
    assert "| `size` | `int` | as of `Worker` |" in text and "#### Told.run\n" in text


@pytest.mark.parametrize(
    ("said", "instead", "lacking"),
    [
        ('    """Works."""\n', "    x = 1  # one\n", "Worker has no docstring (work.py:1)"),
        ('        """Runs."""\n', "", "Worker.run has no docstring (work.py:7)"),
        ("  # in bytes", "", "Worker.size is not explained"),
    ],
)
def test_what_is_not_told_is_named(tmp_path: Path, said: str, instead: str, lacking: str) -> None:
    assert said in _PACKAGE["work.py"]
    with pytest.raises(Unfit) as wrong:
        _text(tmp_path, {"work.py": _PACKAGE["work.py"].replace(said, instead)})
    assert lacking in str(wrong.value)


def test_a_name_that_users_import_stands_in_a_group(tmp_path: Path) -> None:
    with pytest.raises(Unfit, match=r"^zmws\.Told stands in no group of tests/reference\.py$"):
        _text(tmp_path, {}, (Group("Workers", "zmws", ["Worker"]),))
    with pytest.raises(Unfit, match=r"^zmws\.__all__ has no Other, as a group says$"):
        _text(tmp_path, {}, (Group("Workers", "zmws", ["Worker", "Told", "Other"]),))


def test_what_is_internal_is_still_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.reference.INTERNAL", {"Worker.run"})
    assert "#### Worker.run" not in _text(tmp_path, {}) and "#### Told.run" not in _text(tmp_path, {})
    monkeypatch.setattr("tests.reference.INTERNAL", {"Worker.gone"})
    with pytest.raises(Unfit, match=r"Worker\.gone is in INTERNAL of tests/reference\.py, and is no more"):
        _text(tmp_path, {})
