"""Desired and delivered state as local tables, who is active, and what is committed. It knows no HTTP."""
