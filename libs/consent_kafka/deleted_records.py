"""Which offsets a reader did not get because their records had been deleted. Pure."""


def deleted_unread(wanted: int, *, begins: int, found: int) -> int:
    """How many offsets from `wanted` on, where reading was to go on, are gone from a partition that `begins` there;
    reading has come to `found`.

    What the topic still covers was not deleted: transactions ended or were aborted there, or records compacted. Nor is
    anything missing where the topic begins after `found`, which was read before the deletion.
    """
    return begins - wanted if wanted < begins <= found else 0
