"""The record of every decision: append-only, with its evidence, and what has to be published because of it."""
