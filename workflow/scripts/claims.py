"""Verdicts on the paper's claims, and the run's headline numbers."""

from memrnn.analysis.claims import judge, numbers, summary
from memrnn.analysis.formation import FORMATION_COLUMNS, TEST_COLUMNS
from memrnn.analysis.scores import CORRELATION_COLUMNS, SCORE_COLUMNS, SLOW_POINT_COLUMNS
from memrnn.core.files import load_table, save_json, save_table
from memrnn.core.jobs import log_to

log = log_to(snakemake.log[0], "claims")
settings, correlate = snakemake.params.claims, snakemake.params.correlate
tables = (
    load_table(snakemake.input.scores, SCORE_COLUMNS),
    load_table(snakemake.input.correlation, CORRELATION_COLUMNS),
    load_table(snakemake.input.slow_points, SLOW_POINT_COLUMNS),
    load_table(snakemake.input.formation, FORMATION_COLUMNS, may_be_empty=True),
    load_table(snakemake.input.test, TEST_COLUMNS, may_be_empty=True),
)

claims = judge(*tables, **settings, confidence=correlate["confidence"])
save_table(snakemake.output.claims, claims)
save_json(
    snakemake.output.numbers,
    numbers(claims, *tables, settings=settings, correlate=correlate, max_delay=snakemake.params.max_delay),
)
log.info("\n%s", summary(claims))
