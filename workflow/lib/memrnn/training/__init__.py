"""Training: one update, whole runs that can be interrupted, and training on with a penalty.

May import from the floors below it: `core`, `data`, `models`, `tasks`, `dynamics`.
"""
