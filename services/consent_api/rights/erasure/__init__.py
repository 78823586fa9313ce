"""Erasure (GDPR, article 17): objection first, then the tools are informed, then all that names the person goes."""
