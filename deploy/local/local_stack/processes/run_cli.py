"""Several commands of the command line in one process, because each start of Python costs more than what it then does.

python -m local_stack.processes.run_cli '[["migrate"], ["keys", "list"]]' prints a JSON list of what each printed.
"""

import io
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path

import click

from local_stack.errors import StartFailedError


def run(commands: Sequence[Sequence[str]], settings: Mapping[str, str]) -> list[str]:
    """What each of these commands prints, in a child process. Raises StartFailedError with what one complains of."""
    result = subprocess.run(
        [sys.executable, "-m", "local_stack.processes.run_cli", json.dumps(commands)],
        env=dict(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise StartFailedError(
            name=f"consent-relay {', '.join(' '.join(command[:2]) for command in commands)}",
            why=f"ended with exit code {result.returncode}",
            log=Path("its output"),
            tail=result.stderr,
        )
    return [str(printed) for printed in json.loads(result.stdout)]


def _in_turn(commands: Sequence[Sequence[str]]) -> list[str]:
    from consent_service.cli import cli

    printed = []
    for command in commands:
        with redirect_stdout(io.StringIO()) as output:
            cli.main(args=list(command), prog_name="consent-relay", standalone_mode=False)
        printed.append(output.getvalue().strip())
    return printed


if __name__ == "__main__":
    try:
        print(json.dumps(_in_turn(json.loads(sys.argv[1]))))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
