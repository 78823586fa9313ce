"""What `consent-relay doctor` checks of the ledger, and of the files that the API reads."""
