"""The README tells the truth: its commands are the ones that are tested, its links and pictures exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from edgekd.config import source_from_text, validated
from edgekd.errors import EXIT_BUG, EXIT_INTERRUPTED, EXIT_SECURITY
from edgekd.recipe import locate_recipe
from edgekd.sla import Sla

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / ".github" / "CONTRIBUTING.md"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    lines = [line.partition(" #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


def test_the_two_commands_exist_and_can_be_run() -> None:
    first = blocks("sh")[0].splitlines()
    assert [line.split()[0] for line in first] == ["scripts/quickstart", "scripts/test"]
    for line in first:
        assert (ROOT / line.split()[0]).stat().st_mode & 0o111


def test_ci_runs_the_two_commands() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "\nscripts/quickstart\n" in script
    assert "\nscripts/test\n" in script
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text(encoding="utf-8"))
    assert any("bash .ci/run" in step.get("run", "") for step in workflow["jobs"]["check"]["steps"])


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("edgekd ")])
def test_every_command_of_the_readme_has_verbs_and_options_that_exist(line: str) -> None:
    words = line.split()[1:]
    verbs = words[:2] if words[0] == "devices" else words[:1]
    done = subprocess.run(
        [sys.executable, "-m", "edgekd", *verbs, "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    for option in (word for word in words if word.startswith("--")):
        assert option in done.stdout, f"{line}: {option}"


def test_the_dry_run_of_the_readme_works_as_written() -> None:
    line = next(line for line in commands() if line.endswith("--dry-run"))
    done = subprocess.run(
        [sys.executable, "-m", *line.split()], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_sla_of_the_readme_is_valid() -> None:
    (text,) = blocks("yaml")
    sla = validated(source_from_text(text, "README.md"), Sla)
    assert sla.latency == {"p50": 0.01, "p95": 0.02}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_exit_codes_are_those_of_the_program() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| (.+?) \|$", README, re.MULTILINE))
    assert list(map(int, rows)) == [0, 1, 2, 3, 4, EXIT_SECURITY, EXIT_BUG, EXIT_INTERRUPTED]


def test_the_measured_table_is_the_one_that_the_benchmark_wrote() -> None:
    made = (ROOT / "benchmarks" / "results" / "sst2" / "README.md").read_text(encoding="utf-8")
    rows = [line for line in made.splitlines() if line.startswith("|")]
    assert len(rows) >= 5
    for row in rows:
        assert row in README


def test_the_recipes_that_the_readme_runs_ship() -> None:
    for line in commands():
        if line.startswith("edgekd run"):
            assert locate_recipe(line.split()[2]).is_file()
