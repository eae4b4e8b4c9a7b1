"""STR-REV: turns a text around. `zmws call STR-REV str='Hello, world'`"""

from zmws import WorkerBase


class Reverse(WorkerBase):
    service_name = "STR-REV"

    def work(self, job_id, params):
        text = params.get("str") if isinstance(params, dict) else None
        if not isinstance(text, str):
            raise ValueError(f"STR-REV needs 'str', a text; it was given {params!r:.200}")
        return text[::-1]


if __name__ == "__main__":
    Reverse.main()
