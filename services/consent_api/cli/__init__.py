"""The commands of this service. Heavy imports wait until a command runs, so that the help stays fast."""
