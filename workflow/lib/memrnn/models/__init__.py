"""Networks side by side: cells, front ends, and ensembles of both with their files.

May import from `core` and `data`.
"""
