"""Addresses in one spelling, and the keys that hash and seal them."""
