"""The report as a page: in a real browser where there is one, and harmless whatever a model wrote."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from conscience.cli.main import cli
from conscience.errors import InputError
from conscience.evals.report import render, render_comparison, write
from conscience.evals.summary import comparison, summarise
from tests.unit.evals.test_runner import SAFE, UNSAFE, go

HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"> "
    "\x1b[31mred \u202e\u2028 end"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a report; the first row's texts are hostile."""
    found = tmp_path_factory.mktemp("run")
    go(found, [*SAFE, *UNSAFE])
    lines = [json.loads(line) for line in (found / "rows.jsonl").read_text().splitlines()]
    lines[0] |= {"id": "hostile", "request": HOSTILE, "draft": HOSTILE, "response": HOSTILE, "group": HOSTILE}
    lines.append({"id": "failed", "key": "k", "error": f"it broke {HOSTILE}"})
    (found / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (found / "keys.txt").write_text("".join(f"{line['key']}\n" for line in lines))
    (found / "report.json").write_text(json.dumps(summarise(found, sources=["cases <b>.jsonl"])))
    write(found)
    return found


def test_page_is_one_file_that_fetches_nothing(folder: Path) -> None:
    """Every byte is inside, and its policy forbids the rest."""
    page = (folder / "report.html").read_text()
    assert "default-src 'none'" in page
    for outside in ("http://", "https://", 'src="/', "@import", "url("):
        assert outside not in page.replace("http://www.w3.org/2000/svg", "").split('id="data">')[0], outside
    assert "</script><script>document" not in page


def test_report_of_nothing_still_draws() -> None:
    """All figures absent."""
    empty: dict[str, Any] = {"format": "conscience-report/1", "title": "t", "made": "2026-11-24T00:00:00", "claims": []}
    empty |= {"program": {"name": "p", "roles": {}}, "cases": {"done": 0}, "reviewer": None, "correction": None}
    empty |= {"floor": None, "groups": [], "worst_group": None}
    empty |= {"overhead": {"latency_ratio": None, "by_role": {}, "calls_per_case": None}}
    assert "{{" not in render(empty, []).split('id="data">')[0]


def test_many_rows_are_rendered_quickly(folder: Path) -> None:
    """20,000 rows, in seconds."""
    report = json.loads((folder / "report.json").read_text())
    row = json.loads((folder / "rows.jsonl").read_text().splitlines()[1])
    begun = time.perf_counter()
    page = render(report, ({**row, "id": str(n)} for n in range(20_000)))
    assert len(page) < 60_000_000
    assert time.perf_counter() - begun < 20


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    """In one line."""
    with pytest.raises(InputError, match="no report that can be read"):
        write(tmp_path)
    (tmp_path / "report.json").write_text('{"format": "x"}')
    with pytest.raises(InputError, match="not a report of format"):
        write(tmp_path)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium without a window."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium and chromedriver on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('browser')}",
    ):  # fmt: skip
        options.add_argument(flag)
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


def test_page_opens_filters_and_shows_what_changed(browser: Any, folder: Path) -> None:
    """In a real browser, from a file, without an error."""
    browser.get((folder / "report.html").as_uri())
    assert browser.title == "cases <b>.jsonl"
    rows = browser.find_elements("css selector", "#cases tr.row")
    assert len(rows) == 17
    assert len(browser.find_elements("css selector", "svg[role=img]")) == 4
    browser.find_element("css selector", "#search").send_keys("cruel 3")
    (row,) = browser.find_elements("css selector", "#cases tr.row")
    row.click()
    detail = browser.find_element("css selector", "tr.detail")
    assert [e.text for e in detail.find_elements("css selector", "del")][:1] == ["Sure,"]
    assert "can't" in [e.text for e in detail.find_elements("css selector", "ins")]
    assert "no-serious-harm" in detail.text
    row.send_keys("\n")
    assert not browser.find_elements("css selector", "tr.detail")
    browser.find_element("css selector", "#search").clear()
    kind = browser.find_element("css selector", "#kind")
    kind.send_keys("spoiled")
    assert [r.text.split()[0] for r in browser.find_elements("css selector", "#cases tr.row")] == ["s3"]
    assert browser.get_log("browser") == []


def test_hostile_text_does_nothing_and_is_shown(browser: Any, folder: Path) -> None:
    """Neither as markup nor as script nor as control characters."""
    browser.get((folder / "report.html").as_uri())
    for name in ("hostile", "failed"):
        row = next(r for r in browser.find_elements("css selector", "#cases tr.row") if r.text.startswith(name))
        row.click()
    text = browser.find_element("css selector", "#main").text
    assert "</script><script>document.title='owned'</script>" in text
    assert "␛[31mred ␣" in text
    assert browser.title == "cases <b>.jsonl"
    assert not browser.find_elements("css selector", "#main img")
    assert browser.get_log("browser") == []


def test_page_of_a_comparison(browser: Any, tmp_path: Path) -> None:
    """Drawn from two runs; the command writes it."""
    for name in ("a", "b"):
        go(tmp_path / name, SAFE)
    (tmp_path / "c.html").write_text(render_comparison(comparison(tmp_path / "a", tmp_path / "b")))
    browser.get((tmp_path / "c.html").as_uri())
    assert "self-correction accuracy" in browser.find_element("css selector", "#main").text
    assert browser.get_log("browser") == []
    done = CliRunner().invoke(cli, ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "d.html")])
    assert done.exit_code == 0, done.output
    assert "8 cases in common" in done.output
    assert (tmp_path / "d.html").exists()
