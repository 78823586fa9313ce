"""`python -m consent_service api` is `consent-relay api`: how a child process is started from this interpreter."""

from consent_service.cli import main

main()
