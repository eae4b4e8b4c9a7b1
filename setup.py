"""What pyproject.toml cannot say: with ZMWS_COMPILE=1 the core and the codec are compiled (mypyc).

    ZMWS_COMPILE=1 pip install .

The sources are installed beside what is compiled, and do the same: the same tests run on both
(tests/compiled.py). An editable installation is not compiled, for what was compiled would hide each later
change of the sources.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from setuptools import setup

INTERPRETED = {"zmws/core/timers.py"}  # zmws.testing puts others in their place
# The rest of zmws may use what is not installed here; its types are not looked at.
FLAGS = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent", f"--cache-dir={os.devnull}"]

wanted = os.environ.get("ZMWS_COMPILE", "").lower() in ("1", "true", "yes")
building = {"bdist_wheel", "build_ext", "install"} & {*sys.argv}  # the other steps of pip only ask
modules = []
if wanted and building:
    try:
        from mypyc.build import mypycify
    except ImportError:
        sys.exit("zmws: ZMWS_COMPILE=1 needs mypy: pip install mypy (or leave out --no-build-isolation)")
    for left in Path("build").glob("lib*"):  # of a build before: all that lies there goes into the wheel
        shutil.rmtree(left)
    files = {str(file) for part in ("core", "wire") for file in Path("zmws", part).rglob("*.py")}
    modules = mypycify([*FLAGS, *sorted(files - INTERPRETED)], opt_level="3")
elif wanted and "editable_wheel" in sys.argv:
    sys.stderr.write("zmws: an editable installation is not compiled\n")

setup(ext_modules=modules, setup_requires=["mypy>=1.11"] if wanted else [])
