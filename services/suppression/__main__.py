"""The commands of this service: `suppression` writes the list, `gate` answers from it, `scrub` divides a file by it.

Heavy imports wait until a command runs.
"""

from suppression.cli.gate import gate
from suppression.cli.scrub import scrub
from suppression.cli.suppression import suppression

__all__ = ["gate", "scrub", "suppression"]
