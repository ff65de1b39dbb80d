"""Benchmarks of amorsize against a plain loop, other libraries and an exhaustive search."""
