"""How far the list is, and what it has lost: the state of each partition and its record on the resolved topic."""
