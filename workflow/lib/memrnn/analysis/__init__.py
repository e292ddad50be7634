"""Statistics over networks: scores, correlations, predictors, how points form, the verdicts on the claims.

Reads tables alone and needs no torch. May import from the floors below it, and imports from `core`.
"""
