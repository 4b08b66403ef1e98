"""`python -m edgekd`."""

from edgekd.entry import main

main()
