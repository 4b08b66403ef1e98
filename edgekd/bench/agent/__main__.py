"""`python -m edgekd.bench.agent SPEC RESULT`, `probe RESULT` or `restore RESULT`."""

import sys

from .start import main

if __name__ == "__main__":
    sys.exit(main(sys.argv))
