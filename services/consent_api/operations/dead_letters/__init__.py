"""What could not be read or broke a rule: looked at, and given another chance once the cause is gone."""
