"""Image sets: where they come from, how their files are read, and the balanced split that every stage uses.

May import from `core`.
"""
