"""What was run, with which versions, on which machine, and how long it took."""

from memrnn import record
from memrnn.provenance import collect

log = record.log_to(snakemake.log[0], "provenance")
params = snakemake.params
found = collect(dict(params.config), params.root, params.benchmarks, params.folder)
record.save_json(snakemake.output.provenance, found)
for rule, took in found["rules"].items():
    log.info("%s: %d jobs, %.1f s in all, at most %.0f MiB", rule, took["jobs"], took["seconds"], took["max_rss_mib"])
