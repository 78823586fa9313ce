"""Why a file is not scrubbed."""

from __future__ import annotations


class FileNotReadableError(Exception):
    """The file cannot be divided without a guess that could be wrong; the text says what to state. It holds no
    address."""
