"""`Pages`: a list of the broker's, page by page, for both fronts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from zmws.client.answers import Steps, finished
from zmws.client.asker import Asker


class Pages:
    """How far a reader of a list is; `page_steps` brings the next rows until `ended`."""

    def __init__(self, asker: Asker, service: str, field: str, question: Mapping[str, Any]) -> None:
        """`field`: of the answer, which has the rows."""
        self.ended = False
        self._asker = asker
        self._service = service
        self._field = field
        self._question = dict(question)

    def page_steps(self) -> Steps[list[dict[str, Any]]]:
        """The question for the next page. It may have no row, and others come after it."""
        page = yield self._asker.answer_future(self._service, self._question)
        self._question["cursor"] = page["next"]
        self.ended = page["next"] is None
        rows: list[dict[str, Any]] = page[self._field]
        return rows

    def rows(self) -> Iterator[dict[str, Any]]:
        """All rows, waiting for each page."""
        while not self.ended:
            yield from finished(self.page_steps())
