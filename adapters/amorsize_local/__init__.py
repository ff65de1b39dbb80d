"""Backends of this host: the serial loop, threads, processes, and executors that are up. Loads
nothing: a worker process loads it, too.
"""
