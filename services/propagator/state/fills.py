"""Whether a fill of a destination is due: everything becomes unknown and is sent again, as bulk. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from propagator.state.rows import DestinationFill


def fill_reason(
    fills: Sequence[DestinationFill | None], *, generation: int, lost_at: int, losses: Sequence[int]
) -> str | None:
    """Why a fill begins: new_destination, generation, lost_state or lost_records; None: none does.

    `fills`: the destination's own row in each partition, `losses` the loss number of each. `lost_at`: when delivered
    state was last found to be gone, in micros. A scan for another reason begins no fill, and a lost local disk is
    no lost state.
    """
    known = [each for each in fills if each is not None]
    if not known:
        return "new_destination"
    if generation > max(each.generation for each in known):
        return "generation"
    if len(known) < len(fills) or lost_at > min(each.began_at for each in known):
        return "lost_state"
    if any(loss > each.loss for loss, each in zip(losses, known, strict=True)):
        return "lost_records"
    return None


def next_fills(losses: Sequence[int], *, generation: int, now: int) -> Mapping[int, DestinationFill]:
    """The destination's own rows for a fill that begins now, by partition."""
    return {
        partition: DestinationFill(generation=generation, began_at=now, loss=loss)
        for partition, loss in enumerate(losses)
    }
