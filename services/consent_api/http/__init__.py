"""The HTTP API: decisions in; state, receipts and explanations out."""
