"""docs/architecture.md names files that there are."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACES = ("services", "libs", "schemas")


def test_a_file_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`([\w/]+\.py)`", (ROOT / "docs" / "architecture.md").read_text("utf-8")))
    files = "".join(
        f"/{file.relative_to(ROOT).as_posix()}\n" for place in PLACES for file in (ROOT / place).rglob("*.py")
    )
    assert [name for name in sorted(named) if f"/{name}\n" not in files] == []
    assert len(named) > 100
