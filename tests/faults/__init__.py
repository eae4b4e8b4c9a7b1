"""The fault tester: it puts one small fault after the other into the shipped code, and names those that no
test notices. A fault that nobody notices is a line that a later change may break without a word.

    python -m tests.faults --seed 1 --places 200          # a random choice, and a table of what was missed
    python -m tests.faults --place zmws/core/group.py:40  # one line's faults, with the tests' output

`source` finds the places and `draw` chooses among them. `learning` runs each test once and writes down
which lines it runs and how long it takes. `hunt` then forks a process for each fault, which imports the
changed module (`importing`) and runs pytest with a plugin of ours (`session`). `noticing` says which
failures count. Nothing in the checkout is written.
"""
