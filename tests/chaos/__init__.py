"""Kills, freezes and cuts off the parts of a whole running system under load, and compares every decision."""
