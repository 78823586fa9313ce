"""Hooks of mkdocs.yml: README.md is the first page, and what a page links to outside docs is part of the site too."""

import re
from pathlib import Path
from posixpath import dirname, normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add README.md, every file of the repository that a page links to, and what those link to."""
    pages = ["README.md", *(f"docs/{each.src_uri}" for each in files.documentation_pages())]
    for page in pages:  # Grows meanwhile.
        if not page.startswith("docs/"):
            files.append(File.generated(config, _place(page), abs_src_path=str(ROOT / page)))
        for target in _targets(page) if page.endswith(".md") else ():
            if not target.startswith("docs/") and target not in pages and (ROOT / target).is_file():
                pages.append(target)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they have to be in the site: they are written for a reader of the repository."""
    here = page.file.src_uri
    source = _source(here)
    return _LINK.sub(lambda link: relpath(_place(_resolved(source, link[1])), dirname(here) or "."), markdown)


def _targets(page: str) -> list[str]:
    return [_resolved(page, link) for link in _LINK.findall((ROOT / page).read_text("utf-8"))]


def _resolved(page: str, link: str) -> str:
    """The path from the root of the repository."""
    return normpath(f"{dirname(page)}/{link}".lstrip("/"))


def _place(path: str) -> str:
    """Where a file of the repository is in the site."""
    return "index.md" if path == "README.md" else path.removeprefix("docs/")


def _source(place: str) -> str:
    """The other way round."""
    if place == "index.md":
        return "README.md"
    return f"docs/{place}" if (ROOT / "docs" / place).exists() else place
