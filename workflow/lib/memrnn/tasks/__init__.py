"""Delayed classification: trials, frames, targets, loss and read-out; and the protocols that make the task grow.

May import from the floors below it: `core`, `data`, `models`.
"""
