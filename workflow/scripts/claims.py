"""Verdicts on the paper's claims, and the run's headline numbers."""

from memrnn.analysis.claims import Evidence, judge, numbers, summary
from memrnn.core.files import load_table, save_json, save_table
from memrnn.core.jobs import log_to

log = log_to(snakemake.log[0], "claims", snakemake.params)
correlate = snakemake.params.correlate
tables = {
    name: load_table(snakemake.input[name], name)
    for name in ("scores", "correlation", "slow_points", "formation", "confusion_test")
}

evidence = Evidence(tables, snakemake.params.claims, correlate["confidence"])
claims = judge(evidence)
save_table(snakemake.output.claims, claims, "claims")
found = numbers(claims, evidence, correlate=correlate, max_delay=snakemake.params.max_delay)
save_json(snakemake.output.numbers, found)
log.info("\n%s", summary(claims))
