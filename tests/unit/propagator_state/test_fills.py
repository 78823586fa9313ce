"""When a fill begins: push.md, "A fill begins with a new destination, a higher generation or lost state"."""

import pytest

from propagator.state.fills import fill_reason, next_fills
from propagator.state.rows import DestinationFill


def fill(*, generation: int = 0, began_at: int = 100, loss: int = 0) -> DestinationFill:
    return DestinationFill(generation=generation, began_at=began_at, loss=loss)


@pytest.mark.parametrize(
    ("fills", "generation", "lost_at", "losses", "expected"),
    [
        ([None, None], 0, 0, [0, 0], "new_destination"),
        ([fill(), fill()], 0, 0, [0, 0], None),
        ([fill(generation=3), fill(generation=3)], 2, 0, [0, 0], None),
        ([fill(), fill()], 1, 0, [0, 0], "generation"),
        ([fill(), None], 0, 0, [0, 0], "lost_state"),
        ([fill(), fill()], 0, 101, [0, 0], "lost_state"),
        ([fill(), fill()], 0, 99, [0, 0], None),
        ([fill(), fill(loss=1)], 0, 0, [0, 2], "lost_records"),
        ([fill(loss=3), fill(loss=1)], 0, 0, [2, 1], None),
    ],
)
def test_the_reason_of_a_fill(
    fills: list[DestinationFill | None], generation: int, lost_at: int, losses: list[int], expected: str | None
) -> None:
    assert fill_reason(fills, generation=generation, lost_at=lost_at, losses=losses) == expected


def test_a_fill_that_began_needs_no_other() -> None:
    rows = next_fills([0, 4], generation=2, now=500)
    assert fill_reason(list(rows.values()), generation=2, lost_at=499, losses=[0, 4]) is None
