"""`python -m edgekd.bench.agent spec.json result.json`."""

import sys

from .work import main

if __name__ == "__main__":
    sys.exit(main(sys.argv))
