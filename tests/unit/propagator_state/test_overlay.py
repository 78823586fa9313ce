"""Rows from their answer until they are read back."""

from propagator.desired.model import DeliveredTarget
from propagator.state.overlay import Overlay, UndurableRow


def row(action: str = "suppress", *, partition: int = 0) -> UndurableRow:
    delivered = DeliveredTarget(target="t", action=action)  # type: ignore[arg-type]
    return UndurableRow(destination="crm", address_key="h1.a", partition=partition, rows={"t": delivered})


def test_a_row_covers_the_table_until_it_is_read_back() -> None:
    overlay, first = Overlay(), row()
    overlay.put(first)
    assert overlay.rows("crm", "h1.a") == first.rows
    overlay.committed(first, 7)
    overlay.read_to(0, 7)
    assert overlay.rows("crm", "h1.a") == first.rows
    overlay.read_to(0, 8)
    assert overlay.rows("crm", "h1.a") is None


def test_a_row_that_is_read_back_before_its_commit_is_reported_is_removed_then() -> None:
    overlay, first = Overlay(), row()
    overlay.put(first)
    overlay.read_to(0, 8)
    overlay.committed(first, 7)
    assert overlay.rows("crm", "h1.a") is None


def test_a_newer_row_stays_when_the_older_is_read_back() -> None:
    overlay, first, second = Overlay(), row("permit"), row("suppress")
    overlay.put(first)
    overlay.put(second)
    overlay.committed(first, 7)
    overlay.read_to(0, 8)
    assert overlay.rows("crm", "h1.a") == second.rows


def test_positions_of_other_partitions_remove_nothing() -> None:
    overlay, first = Overlay(), row(partition=1)
    overlay.put(first)
    overlay.committed(first, 7)
    overlay.read_to(0, 100)
    assert overlay.rows("crm", "h1.a") is not None


def test_a_fenced_sender_drops_its_rows() -> None:
    overlay = Overlay()
    overlay.put(row())
    assert overlay.clear() == [("crm", "h1.a")]
    assert overlay.rows("crm", "h1.a") is None
