"""Scores per network and class, and how the speed of slow points and other predictors go with them."""

from memrnn import record
from memrnn.correlate import EXTRAPOLATION_COLUMNS, SLOW_POINT_COLUMNS, SPECTRUM_COLUMNS, correlate, scores

log = record.log_to(snakemake.log[0], "correlate")
settings = snakemake.params.correlate

table = scores(
    record.load_table(snakemake.input.extrapolation, EXTRAPOLATION_COLUMNS),
    snakemake.params.max_delay,
    settings["learned_accuracy"],
)
record.save_table(snakemake.output.scores, table)

correlation = correlate(
    record.load_table(snakemake.input.slow_points, SLOW_POINT_COLUMNS),
    record.load_table(snakemake.input.spectrum, SPECTRUM_COLUMNS),
    table,
    resamples=settings["resamples"],
    confidence=settings["confidence"],
    seed=settings["seed"],
)
record.save_table(snakemake.output.correlation, correlation)
for row in correlation.itertuples():
    log.info(
        "%s %s, %s at %d search steps and %s: rho %.2f [%.2f, %.2f] from %d networks, %d left out",
        *(row.cell, row.curriculum, row.predictor, row.search_steps, row.target, row.rho, row.low, row.high),
        *(row.networks, row.left_out),
    )
