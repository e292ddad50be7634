"""What trained networks do: slow points and their kinds, noise-free runs, back-tracking, extrapolation, portraits.

May import from the floors below it: `core`, `data`, `models`, `tasks`.
"""
