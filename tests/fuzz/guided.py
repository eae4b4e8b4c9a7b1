"""The fuzzer proper: one target, by atheris, in this process, which ends with it.

Rule: zmws is imported here and nowhere before, so that its branches are counted.
"""

from __future__ import annotations

import random
import sys
import zlib
from pathlib import Path

_COUNTED = ["zmws", "starlette", "python_multipart", "h11", "uvicorn", "json", "http.cookies", "urllib.parse"]
_SLOWNESS = 4.0
_GROWN_ONE_IN = 256
_KEPT_BYTES_MAX = 1_000


def run(name: str, seconds: int, work: Path, keep: bool) -> None:
    """Does not return. In `work` are `found`, for what is wrong, and `corpus/NAME`, what reaches code that
    nothing else does. `keep`: no search, but that is added to the corpus of the tests."""
    import atheris  # type: ignore[import-not-found,unused-ignore]

    with atheris.instrument_imports(include=_COUNTED):
        from tests.fuzz.targets import CORPUS, TARGETS

    from tests.fuzz import target as of_targets
    from tests.fuzz.mutation import BYTES_MAX, grown, mutated

    target = TARGETS[name]
    of_targets.slowness = _SLOWNESS

    def once(data: bytes) -> None:
        target.check(data)
        seed = zlib.crc32(data)
        if seed % _GROWN_ONE_IN == 0 and not keep:
            target.check(grown(random.Random(seed), data, target.words, target.grown_bytes))

    def other(data: bytes, size_max: int, seed: int) -> bytes:
        if seed % 3:
            return bytes(atheris.Mutate(data, size_max))
        return mutated(random.Random(seed), [data] * len(target.seeds) + [*target.seeds], target.words)[
            :size_max
        ]

    working, kept, found = work / "corpus" / name, CORPUS / name, work / "found"
    for folder in (working, kept, found):
        folder.mkdir(parents=True, exist_ok=True)
    for n, seed in enumerate(target.seeds):
        (working / f"seed-{n}").write_bytes(seed)
    words = work / f"{name}.words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
    given = [sys.argv[0], f"-artifact_prefix={found}/{name}-", "-timeout=60", "-rss_limit_mb=3000"]
    if keep:
        given += ["-merge=1", "-use_counters=0", f"-max_len={_KEPT_BYTES_MAX}", str(kept), str(working)]
    else:
        given += [f"-dict={words}", f"-max_total_time={seconds}", f"-max_len={BYTES_MAX}", "-len_control=20"]
        given += ["-print_final_stats=1", str(working), str(kept)]
    atheris.Setup(given, once, custom_mutator=other)
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(chr(byte) if 32 < byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4] == "keep")
