"""What pyproject.toml cannot say: with ZMWS_COMPILE=1 the core and the codec are compiled (mypyc).

    ZMWS_COMPILE=1 pip install .

The sources are installed beside what is compiled, and do the same: the same tests run on both
(tests/compiled.py). An editable installation is not compiled, for what was compiled would hide each later
change of the sources.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import setup

INTERPRETED = {"zmws/core/timers.py"}  # zmws.testing puts others in their place
# The rest of zmws may use what is not installed here; its types are not looked at.
FLAGS = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent"]

wanted = os.environ.get("ZMWS_COMPILE", "0") not in ("", "0")
editable = any("editable" in word or word == "develop" for word in sys.argv)
modules = []
if wanted and editable:
    sys.stderr.write("zmws: an editable installation is not compiled\n")
elif wanted:
    try:
        from mypyc.build import mypycify
    except ImportError:  # setup_requires is about to bring it
        pass
    else:
        files = {str(file) for part in ("core", "wire") for file in Path("zmws", part).rglob("*.py")}
        modules = mypycify([*FLAGS, *sorted(files - INTERPRETED)], opt_level="3")

setup(ext_modules=modules, setup_requires=["mypy>=1.11"] if wanted and not editable else [])
