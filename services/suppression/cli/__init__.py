"""The commands of this service, one file each."""
