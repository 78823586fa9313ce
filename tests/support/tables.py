"""Tables of cases for pure functions, each in one test: pytest takes longer for a test than they do for a case."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

Test = Callable[..., None]


def each_of(names: str | Sequence[str], table: Iterable[Any]) -> Callable[[Test], Test]:
    """As `pytest.mark.parametrize`, for a test without fixtures; one over another gives every combination. The first
    case that fails ends the test, and is named in the report."""
    listed = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    rows = [dict(zip(listed, row if len(listed) > 1 else (row,), strict=True)) for row in table]
    assert rows, "a table without a case tests nothing"

    def decorate(test: Test) -> Test:
        def every(**outer: Any) -> None:
            for row in rows:
                try:
                    test(**row, **outer)
                except BaseException as error:  # pytest's own, too
                    error.add_note(f"with {row}")
                    raise

        every.__name__, every.__doc__, every.__module__ = test.__name__, test.__doc__, test.__module__
        return every

    return decorate
