"""The rules of the merge: which record is next, what it changes, what is written. Pure."""
