"""Settings of a folder whose etc/zmws.toml is this text, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zmws.errors import SettingsError
from zmws.settings import Settings, load


def loaded(site: Path, text: str, **more: Any) -> Settings:
    (site / "etc" / "zmws.toml").write_text(text)
    return load(cwd=site, environ=more.pop("environ", {}), **more)


def problems(site: Path, text: str, **more: Any) -> list[str]:
    """The lines of the refusal, with `FILE` for the path of the settings file."""
    with pytest.raises(SettingsError) as caught:
        loaded(site, text, **more)
    return str(caught.value).replace(str(site / "etc" / "zmws.toml"), "FILE").splitlines()


def problem(site: Path, text: str, **more: Any) -> str:
    (only,) = problems(site, text, **more)
    return only
