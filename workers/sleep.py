"""SLEEP: takes its time, one second unless told. `zmws call SLEEP seconds:=3`"""

import re
import time

from zmws import WorkerBase


class Sleep(WorkerBase):
    service_name = "SLEEP"

    def work(self, job_id, params):
        seconds = params.get("seconds", 1) if isinstance(params, dict) else 1
        if isinstance(seconds, str) and re.fullmatch(r"\d+(\.\d+)?", seconds):
            seconds = float(seconds)  # by HTTP, what stands in an address is a text
        if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not seconds >= 0:
            raise ValueError(f"SLEEP needs 'seconds', a number from 0; it was given {seconds!r:.200}")
        begun = time.monotonic()
        while (slept := time.monotonic() - begun) < seconds:
            if self.job.cancelled:
                return False
            self.job.progress(slept / seconds, f"slept {slept:.0f} of {seconds:g} s")
            time.sleep(min(0.5, seconds - slept))
        return None


if __name__ == "__main__":
    Sleep.main()
