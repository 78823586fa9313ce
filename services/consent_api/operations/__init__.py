"""What an operator starts: publishing again, dead letters, comparing the list with the ledger."""
