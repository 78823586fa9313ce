"""Registers of oppositions, such as the TPS: lists of addresses with an age, which operators load from files (R22)."""
