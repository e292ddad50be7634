"""Scores per network and class, and how the speed of slow points and other predictors go with them."""

from memrnn.analysis.correlate import correlate
from memrnn.analysis.scores import EXTRAPOLATION_COLUMNS, SLOW_POINT_COLUMNS, SPECTRUM_COLUMNS, scores
from memrnn.core.files import load_table, save_table
from memrnn.core.jobs import log_to

log = log_to(snakemake.log[0], "correlate")
settings = snakemake.params.correlate

table = scores(
    load_table(snakemake.input.extrapolation, EXTRAPOLATION_COLUMNS),
    snakemake.params.max_delay,
    settings["learned_accuracy"],
)
save_table(snakemake.output.scores, table)

correlation = correlate(
    load_table(snakemake.input.slow_points, SLOW_POINT_COLUMNS),
    load_table(snakemake.input.spectrum, SPECTRUM_COLUMNS),
    table,
    resamples=settings["resamples"],
    confidence=settings["confidence"],
    seed=settings["seed"],
)
save_table(snakemake.output.correlation, correlation)
for row in correlation.itertuples():
    log.info(
        "%s %s, %s at %d search steps and %s: rho %.2f [%.2f, %.2f] from %d networks, %d left out",
        *(row.cell, row.curriculum, row.predictor, row.search_steps, row.target, row.rho, row.low, row.high),
        *(row.networks, row.left_out),
    )
