"""`python -m edgekd.bench.agent spec.json result.json`, or one of the words in commands.py."""

import sys

from .commands import main

if __name__ == "__main__":
    sys.exit(main(sys.argv))
