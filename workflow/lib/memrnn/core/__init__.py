"""Ground floor: random streams, files, jobs, the schema of tables, statistics. Knows nothing of images or networks.

Imports nothing else of this library.
"""
