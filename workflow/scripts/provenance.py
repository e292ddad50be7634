"""What was run, with which versions, on which machine, how long it took, and the checksum of every file."""

from memrnn.core.files import save_json, save_table
from memrnn.core.jobs import log_to
from memrnn.run.provenance import collect
from memrnn.run.verify import MANIFEST_TABLE, manifest

log = log_to(snakemake.log[0], "provenance")
params = snakemake.params
found = collect(dict(params.config), params.root, params.benchmarks, params.logs, params.folder)
save_json(snakemake.output.provenance, found)
for rule, took in found["rules"].items():
    log.info(
        "%s: %d jobs, %.1f s in all (%.1f s of the processor), at most %.0f MiB",
        *(rule, took["jobs"], took["seconds"], took["cpu_seconds"], took["max_rss_mib"]),
    )
table = manifest([*snakemake.input.files, snakemake.output.provenance], params.folder)
save_table(snakemake.output.manifest, table, MANIFEST_TABLE)
log.info("%d files, %.1f MB", len(table), table.bytes.sum() / 1e6)
