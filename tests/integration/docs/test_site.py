"""The site that `make docs` builds: every link of the pages leads somewhere, and nothing is loaded from other hosts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
}
IN_STYLES = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')]+)""")


class Loaded(HTMLParser):
    """What a browser fetches by itself for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and given.get("rel") not in ("canonical", "prev", "next"):
            self.addresses.append(given.get("href") or "")
        if tag in LOADED:
            self.addresses.append(given.get(LOADED[tag]) or "")


def build(repository: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Without --quiet, which would keep the strict mode from seeing warnings."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(site)],
        cwd=repository,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    ended = build(ROOT, directory)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return directory


def test_readme_and_every_page_are_there(site: Path) -> None:
    pages = [each.relative_to(ROOT / "docs").with_suffix("") for each in (ROOT / "docs").rglob("*.md")]
    for page in pages:
        place = "index" if page.name == "README" else page.name
        assert (site / page.with_name(f"{place}.html")).is_file(), page
    assert "The first hour" in (site / "index.html").read_text("utf-8")


def test_nothing_is_loaded_from_other_hosts(site: Path) -> None:
    for file in site.rglob("*.html"):
        text = file.read_text("utf-8")
        page = Loaded()
        page.feed(text)
        assert page.addresses, file
        foreign = [each for each in page.addresses if re.match(r"(https?:)?//", each)]
        assert not foreign, f"{file.relative_to(site)} loads {foreign}"
        assert 'class="mermaid"' not in text, "the theme loads the library of diagrams from another host"
    for file in site.rglob("*.css"):
        assert not IN_STYLES.findall(file.read_text("utf-8")), file


@pytest.mark.parametrize("link", ["nowhere.md", "../no-file.txt", "submitting.md#no-such-heading"])
def test_a_link_that_leads_nowhere_fails(link: str, tmp_path: Path) -> None:
    copy = tmp_path / "repository"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "node_modules"))
    with (copy / "docs" / "running.md").open("a", encoding="utf-8") as page:
        page.write(f"\n[a link]({link})\n")
    ended = build(copy, tmp_path / "site")
    assert ended.returncode != 0
    assert "running.md" in ended.stderr
