"""Erasure (GDPR, article 17): objection first, then the tools are told, then all that names the person goes."""
