"""The propagator's commands, one file each."""
