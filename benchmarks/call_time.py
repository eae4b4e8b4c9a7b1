"""How long `zmws call` takes as a whole process, against `python -c "import zmq"`, which none can do without.

    python benchmarks/call_time.py [--rounds 25]

Both in turn; the least time and the median of each, and their ratios. The gate is 2.5.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from zmws.testing import free_ports

GATE = 2.5
ZMWS = [str(Path(sys.executable).parent / "zmws")]
COMMANDS = {
    "import zmq": [sys.executable, "-c", "import zmq"],
    "zmws call": [*ZMWS, "call", "HELLO", "name=you"],
    "from zmws import Client": [sys.executable, "-c", "from zmws import Client"],
}


def seconds(command: list[str], folder: Path) -> float:
    """Of one run."""
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> int:
    """Measure, print, and say whether the gate is passed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=25)
    rounds = parser.parse_args().rounds
    names = ("CLIENT", "WORKER", "NEWS", "MDP")
    ports = {f"ZMWS_BROKER_{name}": port for name, port in zip(names, free_ports(4), strict=True)}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        subprocess.run([*ZMWS, "init", "."], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        settings = folder / "etc" / "zmws.toml"
        text = settings.read_text()
        for default, port in zip(range(5555, 5559), ports.values(), strict=True):
            text = text.replace(f"tcp://127.0.0.1:{default}", f"tcp://127.0.0.1:{port}")
        settings.write_text(text)
        subprocess.run([*ZMWS, "start"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        try:
            took: dict[str, list[float]] = {name: [] for name in COMMANDS}
            for _ in range(rounds):
                for name, command in COMMANDS.items():
                    took[name].append(seconds(command, folder))
        finally:
            subprocess.run([*ZMWS, "stop"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    least, middle = min(took["import zmq"]), statistics.median(took["import zmq"])
    print(f"{rounds} rounds, {os.cpu_count()} cores")
    for name, all_s in took.items():
        ratio, middle_ratio = min(all_s) / least, statistics.median(all_s) / middle
        print(f"{name:24} {1e3 * min(all_s):6.1f} ms {ratio:5.2f}   median {middle_ratio:5.2f}")
    passed = min(took["zmws call"]) / least <= GATE
    print(f"gate {GATE}: {'passed' if passed else 'missed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
