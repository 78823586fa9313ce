"""What a destination is to hold, what it last took, and the difference. Pure: standard library and contracts only."""
