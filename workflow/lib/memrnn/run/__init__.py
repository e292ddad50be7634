"""The workflow's own: configuration, planning, provenance, verification, progress.

Top floor: may import from all others. Planning, which Snakemake calls before every run, needs no torch.
"""
