"""Deleted records are distinguished from offsets that were never records, in every reader by one rule. # R43"""

import pytest

from consent_kafka.deleted_records import deleted_unread


@pytest.mark.parametrize(
    ("wanted", "begins", "found", "deleted"),
    [
        (10, 25, 25, 15),
        (10, 25, 27, 15),  # 25 and 26 are control records
        (0, 25, 25, 25),  # a group that never read
        (10, 0, 13, 0),  # a transaction was aborted
        (10, 10, 12, 0),
        (10, 25, 11, 0),  # read before it was deleted
        (40, 0, 0, 0),  # another topic of the same name
        (40, 25, 40, 0),
    ],
)
def test_what_was_deleted_before_it_was_read(wanted: int, begins: int, found: int, deleted: int) -> None:
    assert deleted_unread(wanted, begins=begins, found=found) == deleted
