"""The commands of the local stack, one file each."""
