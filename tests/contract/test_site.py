"""The documentation as a site: every page has its place, every public name is in the reference, nothing is fetched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

import conscience
import conscience.monitoring
import conscience.optimizers
import conscience.server
import conscience.testing
from tests.conftest import ROOT
from tests.support.browser import chromium

DOCS = ROOT / "docs"


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml without calling what it names."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def pages(nav: Any) -> list[str]:
    """The files that a navigation names."""
    if isinstance(nav, str):
        return [nav]
    return [page for part in (nav.values() if isinstance(nav, dict) else nav) for page in pages(part)]


def test_every_page_has_its_place() -> None:
    """Once, in the navigation."""
    nav = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)["nav"]
    assert sorted(pages(nav)) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def test_every_public_name_is_in_the_reference() -> None:
    """Once; a new one needs a line there."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in sorted((DOCS / "reference").glob("*.md")))
    listed = re.findall(r"^::: (\S+)", text, re.MULTILINE)
    public = {f"conscience.{name}" for name in conscience.__all__} - {"conscience.__version__"}
    for package in (conscience.monitoring, conscience.optimizers, conscience.server):
        public |= {f"{package.__name__}.{name}" for name in package.__all__}
    defined = {
        name for name, value in vars(conscience.testing).items() if getattr(value, "__module__", "") == "conscience.testing"
    }
    public |= {f"conscience.testing.{name}" for name in defined if not name.startswith("_")}
    assert sorted(public - set(listed)) == []
    assert len(listed) == len(set(listed))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly and without a network."""
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("built") / "site"
    offline = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **offline}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.long
@pytest.mark.xdist_group("site")  # built once
def test_no_page_names_another_host_to_load_from(site: Path) -> None:
    """Neither fonts nor scripts nor badges."""
    built = sorted(site.rglob("*.html"))
    assert len(built) > len(list(DOCS.rglob("*.md")))
    loads = r"<(?:link|script|img|iframe|source|object)\b[^>]*?\b(?:href|src|data)=[\"']?((?:https?:)?//[^\"' >]+)"
    assert [(page.name, url) for page in built for url in re.findall(loads, page.read_text(encoding="utf-8"))] == []
    assert [url for sheet in site.rglob("*.css") for url in re.findall(r"url\((https?:[^)]*)\)", sheet.read_text())] == []


@pytest.mark.long
@pytest.mark.xdist_group("site")  # built once
def test_a_reader_finds_a_name_and_loads_nothing_from_elsewhere(site: Path, tmp_path: Path) -> None:
    """In a real browser: the search works, nothing complains, and no other host is asked."""
    handler = partial(_Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, chromium(tmp_path) as browser:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for page in ("index.html", "reference/program.html", "playground.html"):
            browser.get(f"http://127.0.0.1:{server.server_port}/{page}")
            browser.find_element("css selector", "input.md-search__input").send_keys("threshold")
            deadline = time.monotonic() + 20
            while not browser.find_elements("css selector", ".md-search-result__item"):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            loaded = browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
            assert [name for name in loaded if not name.startswith(f"http://127.0.0.1:{server.server_port}/")] == []
            assert browser.get_log("browser") == []
        server.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""
