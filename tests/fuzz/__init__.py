"""The fuzzer: bytes that nobody would send in good faith, at each surface that they reach.

    python -m tests.fuzz --seconds 600                    # each target for its part of ten minutes
    python -m tests.fuzz --seconds 60 --target mdp        # one of them
    python -m tests.fuzz --target mdp --input FILE        # what is wrong with these bytes, to see it again
    python -m tests.fuzz --seconds 600 --keep             # and what reaches new code goes into the corpus

By hand it is guided by coverage, by atheris (`pip install atheris`, into a virtual environment that has zmws
and its tests' packages). `test_corpus` needs none: it replays the corpus, and what a fixed seed makes of it.

Rule 1: a target is a function of bytes (`target`): it raises where something is wrong, and does no I/O. The
        documented refusal of a parser is not wrong; any other exception, and a second of CPU, is.
Rule 2: what is found is mended in zmws, with a test that names the kind; the bytes that showed it go into the
        corpus, under a name that says what they are.
Rule 3: the corpus stays small: `corpus/TARGET/*`, a few hundred short files, minimised by `--keep`.

`wire`, `questions`, `given` and `connection` have the targets, `mutation` makes bytes of bytes, `guided` runs
atheris.
"""
