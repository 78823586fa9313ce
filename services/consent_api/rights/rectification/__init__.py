"""Rectification (GDPR, article 16): another address in the place of one that is wrong."""
