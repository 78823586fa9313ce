"""One partition of the merge: its thread, its fenced writer, its local entries."""
