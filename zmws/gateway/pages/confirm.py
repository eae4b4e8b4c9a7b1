"""The page that says exactly what will be done to how many, before it is done.

Rule: who confirms confirms a count. If there are others by then, it is asked again.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from zmws.gateway.desk import Visitor
from zmws.gateway.pages.frame import answer


def is_confirmed(form: Mapping[str, str], count: int) -> bool:
    """Whether this form confirms just so many."""
    return form.get("confirmed") == str(count)


def confirm(
    visitor: Visitor, text: str, verb: str, form: Mapping[str, str], count: int, back: str, note: str = ""
) -> Response:
    """The page that asks. `form`: what the same form brings once more; `back`: where who does not want it
    goes."""
    had = form.get("confirmed")
    values = {
        "title": verb,
        "text": text,
        "note": note,
        "verb": verb,
        "fields": {name: value for name, value in form.items() if name != "confirmed"},
        "count": count,
        "changed": had is not None and had != str(count),
        "back": back,
        "action": visitor.page_path,
    }
    return answer(visitor, "confirm.html", values)
