"""Child processes: one, all of them together, and commands of ours in one of their own."""
