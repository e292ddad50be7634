"""Verdicts on the paper's claims, and the run's headline numbers."""

from memrnn.analysis.claims import judge, numbers, summary
from memrnn.core.files import load_table, save_json, save_table
from memrnn.core.jobs import log_to

log = log_to(snakemake.log[0], "claims")
settings, correlate = snakemake.params.claims, snakemake.params.correlate
tables = [
    load_table(snakemake.input[name], name)
    for name in ("scores", "correlation", "slow_points", "formation", "confusion_test")
]

claims = judge(*tables, **settings, confidence=correlate["confidence"])
save_table(snakemake.output.claims, claims, "claims")
save_json(
    snakemake.output.numbers,
    numbers(claims, *tables, settings=settings, correlate=correlate, max_delay=snakemake.params.max_delay),
)
log.info("\n%s", summary(claims))
