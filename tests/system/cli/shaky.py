"""A worker that fails in every way."""

from __future__ import annotations

SHAKY = """
import os
import signal
from zmws import WorkerBase

class Shaky(WorkerBase):
    service_name = "SHAKY"

    def work(self, job_id, params):
        how = params.get("how")
        if how == "raise":
            raise RuntimeError("it broke")
        if how == "false":
            return False
        if how == "bytes":
            return bytes([0, 255, 10])
        if how == "true":
            return True
        if how == "none":
            return None
        self.job.log("a line")
        self.job.progress(0.5, "half\\x1b[31m")
        return {"how": how}
"""
