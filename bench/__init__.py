"""The bench: how much of what is possible batchmill reaches, in ratios of one and the same run.

``./bench/run`` is the way in. Every program that is measured runs in processes
of its own, on loopback and free ports, and ends with the bench.
"""
