"""Refuse the words that docs/glossary.md lists as not used. `make lint` runs it over every file under version control.

A word in backticks or in a URL is a quotation and is passed over; so is a line of code that ends in NOT_OUR_WORD. In
code, names are split at underscores and capitals, so that each part of a compound name is checked where it is defined.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
GLOSSARY = "docs/glossary.md"
HEADING = "## Words that are not used"
NOT_OUR_WORD = "# not our word"
"""For words that others chose: a system's user, a value that callers send."""
NOT_OURS = (
    GLOSSARY,
    "LICENSE",
    "requirements.txt",
    "deploy/images/requirements.txt",
    "docs/benchmarks.json",
    "services/consent_api/inbound/sms_words.py",
    "tests/unit/test_plain_words.py",
)
READ = {".md", ".py", ".toml", ".yml", ".yaml", ".avsc", ".json", ".sql", ".js", ".java", ".go", ""}

_QUOTED = re.compile(r"`[^`\n]*`|https?://\S+")
_PARTS = re.compile(r"_|(?<=[a-z0-9])(?=[A-Z])")


def banned(glossary: str) -> dict[str, str]:
    """Each banned word or pair of words in lower case -> what to write instead."""
    rows = re.findall(r"^\| (?!not \|)([^|]+) \| ([^|]+) \|$", glossary.partition(HEADING)[2], re.MULTILINE)
    return {word.strip().lower(): instead.strip() for words, instead in rows for word in words.split(",")}


def faults(text: str, words: dict[str, str], *, document: bool) -> Iterator[tuple[int, str]]:
    """The line number, from 1, and the word, of each use."""
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, words))})\b")
    for number, line in enumerate(text.splitlines(), 1):
        if line.endswith(NOT_OUR_WORD):
            continue
        plain = _QUOTED.sub(" ", line)
        for found in pattern.findall((plain if document else _PARTS.sub(" ", plain)).lower()):
            yield number, found


def main() -> int:
    """0 where every file keeps to the words; else 1, with one line for each fault."""
    words = banned((ROOT / GLOSSARY).read_text())
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    count = 0
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if name.startswith(NOT_OURS) or path.suffix not in READ or not path.is_file():
            continue
        for number, word in faults(path.read_text(errors="replace"), words, document=path.suffix == ".md"):
            count += 1
            print(f"{name}:{number}: {word!r} is not used here: write {words[word]} ({GLOSSARY})")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
