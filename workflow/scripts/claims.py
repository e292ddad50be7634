"""Verdicts on the paper's claims, and the run's headline numbers."""

from memrnn import record
from memrnn.claims import judge, numbers, summary
from memrnn.correlate import CORRELATION_COLUMNS, SCORE_COLUMNS, SLOW_POINT_COLUMNS
from memrnn.formation import FORMATION_COLUMNS, TEST_COLUMNS

log = record.log_to(snakemake.log[0], "claims")
settings, correlate = snakemake.params.claims, snakemake.params.correlate
tables = (
    record.load_table(snakemake.input.scores, SCORE_COLUMNS),
    record.load_table(snakemake.input.correlation, CORRELATION_COLUMNS),
    record.load_table(snakemake.input.slow_points, SLOW_POINT_COLUMNS),
    record.load_table(snakemake.input.formation, FORMATION_COLUMNS, may_be_empty=True),
    record.load_table(snakemake.input.test, TEST_COLUMNS, may_be_empty=True),
)

claims = judge(*tables, **settings, confidence=correlate["confidence"])
record.save_table(snakemake.output.claims, claims)
record.save_json(
    snakemake.output.numbers,
    numbers(claims, *tables, settings=settings, correlate=correlate, max_delay=snakemake.params.max_delay),
)
log.info("\n%s", summary(claims))
