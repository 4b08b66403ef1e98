"""The agent as the one file that is sent to a board: a zip that Python runs, byte by byte the same everywhere."""

from __future__ import annotations

import io
import zipfile
from functools import lru_cache
from pathlib import Path

AGENT = Path(__file__).with_name("agent")
_START = "import sys\n\nfrom agent.start import main\n\nsys.exit(main(sys.argv))\n"
_NO_TIME = (1980, 1, 1, 0, 0, 0)


@lru_cache(maxsize=1)
def packed_agent() -> bytes:
    """The bytes of agent.pyz. Source: Python's documentation of zipapp, and of running a zip file by its __main__."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(AGENT.glob("*.py")):
            archive.writestr(zipfile.ZipInfo(f"agent/{path.name}", _NO_TIME), path.read_bytes())
        archive.writestr(zipfile.ZipInfo("__main__.py", _NO_TIME), _START)
    return stream.getvalue()
