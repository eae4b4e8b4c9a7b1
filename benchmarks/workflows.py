"""What a batch costs: a hundred thousand members submitted, done and concluded, against jobs without a batch.

    python benchmarks/workflows.py [--jobs 100000] [--rounds 3] [--json FILE]

Each round starts a broker of its own on a store on disk, with two workers of no-op jobs, and runs the same number of jobs
with and without a batch, one after the other. It prints the processor time of the broker a job (user and system, of its
whole process), their ratio, and the most memory that the broker had.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent
sys.path.insert(0, str(REPOSITORY))

from benchmarks.stack import Stack  # noqa: E402
