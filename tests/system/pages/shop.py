"""A worker file for the pages' tests: what is asked of it, it does while somebody looks on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

from zmws import WorkerBase, worker

RUN = Path(__file__).parent.parent / "run"


class Step(WorkerBase):
    """Says how far it is: so many steps, each when `run/NAME.N` is there, or after `seconds`."""

    service_name = "STEP"
    retries = 0

    def work(self, job_id: str, params: Any) -> Any:
        steps, name = params.get("steps", 4), params.get("name", "")
        for n in range(1, steps + 1):
            until = time.monotonic() + params.get("seconds", 20.0)
            while time.monotonic() < until and not (name and (RUN / f"{name}.{n}").exists()):
                if self.job.cancelled:
                    return False
                time.sleep(0.02)
            self.job.log(f"step {n} of {steps} <b>done</b>")
            self.job.partial({"step": n, "token": "t0p"})
            self.job.progress(n / steps, f"{n} of {steps}")
        return {"steps": steps}


class Evil(WorkerBase):
    """Says hostile texts wherever a worker can say something."""

    service_name = "EVIL\"'><img_src=x_onerror=stolen()>"
    retries = 0

    def work(self, job_id: str, params: Any) -> Any:
        text = params["text"]
        self.job.progress(0.5, text)
        self.job.log(text)
        self.job.partial({text: text})
        raise type("<script>stolen()<!--", (Exception,), {})(text)


@worker("FLAKY", retries=0)
def flaky(name: str) -> str:
    """Fails until `run/NAME.ok` is there."""
    if not (RUN / f"{name}.ok").exists():
        raise LookupError(f"<img src=x onerror=alert(1)> {name!r} is not there yet")
    return "found"


@worker("ORDER")
def order(
    item: str,
    number: int,
    size: Literal["small", "large"] = "small",
    gift: bool = False,
    weight: float | None = None,
    tags: list[str] | None = None,
) -> dict[str, Any]:
    """All kinds of fields."""
    return {"item": item, "number": number, "size": size, "gift": gift, "weight": weight, "tags": tags}
