"""The list checked against the ledger: differences found, confirmed, and repaired from the ledger."""
