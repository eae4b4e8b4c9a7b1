"""`python -m zmws` is `zmws`."""

from zmws.cli import main

main()
