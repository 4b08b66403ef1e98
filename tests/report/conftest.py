import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from run_folder import make_run

from edgekd.report.page import report_text
from edgekd.report.run import RunFolder, read_run


@pytest.fixture(scope="session")
def run_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run that passes; tests that change files copy it first."""
    limits = ["sla.latency.p50='1 ms'", "sla.latency.p95='2 ms'"]
    return make_run(tmp_path_factory.mktemp("whole") / "runs" / "quickstart", overrides=limits, samples=200)


@pytest.fixture(scope="session")
def whole(run_root: Path) -> RunFolder:
    return read_run(run_root)


@pytest.fixture(scope="session")
def sized_only(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return read_run(make_run(tmp_path_factory.mktemp("sized") / "run", until="size"))


@pytest.fixture(scope="session")
def unfit(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return read_run(make_run(tmp_path_factory.mktemp("unfit") / "run", overrides=["sla.latency.p50='1 us'"]))


@pytest.fixture(scope="session")
def page(whole: RunFolder) -> str:
    return report_text(whole)
