"""The page that says exactly what will be done to how many, before it is done.

Rule: who confirms confirms a count. Where many more are meant by then it is asked again; a few more, or less,
      come and go while a service works, and how many it was is told afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from zmws.gateway.desk import Visitor
from zmws.gateway.pages.frame import answer

MORE_LEAST = 5


def is_confirmed(form: Mapping[str, str], count: int) -> bool:
    """Whether this form confirms so many: what it says, or a tenth more, or five."""
    said = form.get("confirmed", "")
    if not (said.isascii() and said.isdigit() and len(said) < 10):
        return False
    return count <= int(said) + max(MORE_LEAST, int(said) // 10)


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
        "changed": had is not None,
        "back": back,
        "action": visitor.page_path,
    }
    return answer(visitor, "confirm.html", values)
