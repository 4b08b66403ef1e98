"""The page as a whole: one file, nothing from elsewhere, and nothing that a file says becomes part of it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from page_reader import Page, strings_of
from run_folder import STEPS, make_run

from edgekd.errors import EdgekdError, InputError
from edgekd.report.page import report_text, write_report
from edgekd.report.run import RunFolder, read_run

PAYLOAD = "\"'`</script><script>alert(1)</script><img src=x onerror=alert(1)>&lt;\x1b[31m\u202eevil\u2028\u0000"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def test_the_page_loads_nothing(page: str) -> None:
    read = Page(page)
    for tag, attributes in read.elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form", "a"}
        assert not {"src", "href", "srcset", "style"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_allows_exactly_the_scripts_of_the_page(page: str) -> None:
    read = Page(page)
    policies = [a["content"] for _, a in read.elements if a.get("http-equiv") == "Content-Security-Policy"]
    (policy,) = policies
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    hashes = [base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in read.code]
    assert len(hashes) == 2
    assert re.findall(r"'sha256-([^']+)'", policy) == hashes
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    assert "unsafe-eval" not in policy


def test_plotly_stands_on_the_page_once(page: str) -> None:
    assert page.count("* plotly.js v") == 1


def test_the_verdict_comes_first(page: str) -> None:
    headings = [said for said in re.findall(r"<h2>([^<]+)</h2>", page)]  # noqa: C416  the list is the order
    assert headings == [
        "The student against its teacher", "The choice", "The training", "The latency", "The data", "The circumstances",
    ]  # fmt: skip
    assert page.index('class="band pass"') < page.index("<h2>")
    assert "<title>PASS: quickstart (edgekd)</title>" in page


def test_every_plot_has_its_data(page: str) -> None:
    read = Page(page)
    wanted = {attributes["data-figure"] for _, attributes in read.elements if "data-figure" in attributes}
    assert wanted == set(read.figures)
    assert len(wanted) == 5


def test_ids_are_unique(page: str) -> None:
    ids = [attributes["id"] for _, attributes in Page(page).elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_equal_runs_give_equal_pages(run_root: Path, page: str) -> None:
    assert report_text(read_run(run_root)) == page


@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_stopped_anywhere_has_a_page(step: str, tmp_path: Path) -> None:
    read = Page(report_text(read_run(make_run(tmp_path / "run", until=step, samples=20))))
    assert "The circumstances" in read.said
    if step != "gate":
        assert "NO VERDICT YET" in read.said


def test_a_run_without_a_student_has_a_page(unfit: RunFolder) -> None:
    text = report_text(unfit)
    assert 'class="band fail"' in text
    assert "<title>FAIL: quickstart (edgekd)</title>" in text


def test_the_page_is_written_where_it_is_wanted(run_root: Path, tmp_path: Path, page: str) -> None:
    shutil.copytree(run_root, tmp_path / "run")
    assert write_report(tmp_path / "run") == tmp_path / "run" / "report.html"
    assert (tmp_path / "run" / "report.html").read_text() == page.replace(
        "quickstart</code>", "quickstart --out run</code>"
    )
    assert write_report(tmp_path / "run", tmp_path / "deep" / "r.html").is_file()
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["r.html"]


def test_a_folder_that_is_no_run_leaves_no_page(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        write_report(tmp_path, tmp_path / "r.html")
    assert list(tmp_path.iterdir()) == []


# --- what files say -----------------------------------------------------------------------------------------------


def places_of(value: Any, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Where strings stand in a JSON value; list indices and keys that look like data count as one place."""
    if isinstance(value, str):
        return {path}
    items = (
        value.items() if isinstance(value, dict) else [("*", item) for item in value] if isinstance(value, list) else []
    )
    found: set[tuple[str, ...]] = set()
    for key, item in items:
        found |= places_of(item, (*path, key))
    return found


def poisoned(value: Any, place: tuple[str, ...]) -> Any:
    if not place:
        return value + PAYLOAD if isinstance(value, str) else value
    if isinstance(value, list):
        return [poisoned(item, place[1:]) for item in value]
    if isinstance(value, dict) and place[0] in value:
        return {**value, place[0]: poisoned(value[place[0]], place[1:])}
    return value


def poison(root: Path) -> list[str]:
    """Put the payload into every string of every file that the run folder still reads with it; say where it stands."""
    done = []
    for path in sorted(root.rglob("*.json")):
        for place in sorted(places_of(json.loads(path.read_text()))):
            before = path.read_text()
            path.write_text(json.dumps(poisoned(json.loads(before), place)))
            try:
                read_run(root)
            except EdgekdError:
                path.write_text(before)
            else:
                done.append(f"{path.name} {'.'.join(place)}")
    return done


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], str]:
    space = ["space.layers=[1,2]", "space.hidden=[48]", "space.ffn_ratio=[2.0]", "search.calibrate=3"]
    root = make_run(tmp_path_factory.mktemp("hostile") / "run", overrides=space, samples=10)
    students = json.loads((root / "students.json").read_text())
    for name in ("students.json", "sizing.json"):  # the ids must stay equal in both, so they are poisoned together
        path = root / name
        path.write_text(path.read_text().replace(students["chosen"], json.dumps(students["chosen"] + PAYLOAD)[1:-1]))
    return poison(root), report_text(read_run(root))


def test_the_payload_reached_the_free_text_of_every_file(hostile: tuple[list[str], str]) -> None:
    places = hostile[0]
    for place in (
        "recipe.json name", "teacher.json origin", "teacher.json label_names.*", "teacher.json data.notes.*",
        "data.json warnings.*", "data.json classes.*.name", "data.json leakage.*.shown.*.text",
        "data.json leakage.*.shown.*.other_text", "student.json stopped", "students.json device", "students.json reason", "sizing.json limits.*.name",
        "verdict.json criteria.*.text", "verdict.json notes.*", "verdict.json artifact", "verdict.json host",
        "latency-student-int8.json warnings.*", "latency-student-int8.json host.cpu", "manifest.json entries.*.name",
        "latency-student-int8.json artifact.name", "accuracy-student-int8.json dataset",
    ):  # fmt: skip
        assert place in places
    assert len(places) > 60


def test_nothing_that_a_file_says_becomes_an_element(hostile: tuple[list[str], str], page: str) -> None:
    read = Page(hostile[1])
    assert read.shapes <= Page(page).shapes | {("td", ()), ("small", ())}
    assert len(read.code) == 2
    assert read.code == Page(page).code
    assert "<script>alert(1)</script>" in read.said


def test_no_control_or_bidi_character_reaches_the_page(hostile: tuple[list[str], str]) -> None:
    read = Page(hostile[1])
    for text in [read.said, *[json.dumps(figure) for figure in read.figures.values()]]:
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029]", text)
    values = [value or "" for _, attributes in read.elements for value in attributes.values()]
    assert not [value for value in values if re.search(r"[\x00-\x1f\u202e]", value)]


def test_labels_of_plots_hold_only_our_own_tags(hostile: tuple[list[str], str]) -> None:
    texts = [text for figure in Page(hostile[1]).figures.values() for text in strings_of(figure)]
    assert any("alert(1)" in text for text in texts)
    for text in texts:
        assert "<" not in re.sub(r"</?b>|<br>|<extra></extra>", "", text)
        if "%{" in text:
            assert "alert" not in text


# --- on a bare machine, in a browser ------------------------------------------------------------------------------


def test_the_report_needs_no_heavy_library(run_root: Path, tmp_path: Path) -> None:
    blocked = ("torch", "transformers", "onnx", "onnxruntime", "numpy", "datasets", "sklearn", "paramiko", "scipy")
    code = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {blocked!r}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Block())
from pathlib import Path
from edgekd.report.page import write_report
write_report(Path({str(run_root)!r}), Path({str(tmp_path / "r.html")!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r.html").stat().st_size > 1_000_000


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: install it to see the plots drawn")
def test_a_browser_draws_every_plot_under_the_policy(tmp_path: Path, hostile: tuple[list[str], str]) -> None:
    (tmp_path / "r.html").write_text(hostile[1], encoding="utf-8")
    argv = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--no-first-run", f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=8000",
        "--enable-logging=stderr", "--dump-dom", (tmp_path / "r.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.count('class="main-svg"') >= 5, done.stderr[-2000:]
    assert "Content Security Policy" not in done.stderr
    assert "Uncaught" not in done.stderr
    read = Page(done.stdout)
    assert not {"img", "a", "iframe"} & {tag for tag, _ in read.elements}
    assert not [name for _, attributes in read.elements for name in attributes if name.startswith("on")]
    assert read.code == Page(hostile[1]).code
