"""The commands of the local stack. Heavy imports wait until a command runs."""

from local_stack.cli.demo import demo
from local_stack.cli.env import env
from local_stack.cli.up import up

__all__ = ["demo", "env", "up"]
