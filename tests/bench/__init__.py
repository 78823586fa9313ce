"""Benchmarks: every figure of speed or memory is a ratio to a baseline that ran in the same minute."""
