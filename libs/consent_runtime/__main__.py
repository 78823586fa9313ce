"""`python -m consent_runtime api` is `consent-relay api`: how a child process is started from this interpreter."""

from consent_runtime.cli import main

main()
