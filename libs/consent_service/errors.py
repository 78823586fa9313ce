"""Why a process cannot start."""


class InvalidSettingsError(Exception):
    """Settings that cannot be read. `problems` holds one line a variable, never a value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class LinkRefusedError(Exception):
    """A server is there and refuses this process, or this process refuses the server: waiting does not help. Ends the
    process with code 2. The message begins with the setting to correct."""
