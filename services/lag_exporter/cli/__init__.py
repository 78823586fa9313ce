"""The command of this service. Heavy imports wait until it runs, so that the help stays fast."""
