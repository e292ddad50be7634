"""Scores per network and class, and how the speed of slow points and other predictors go with them."""

from memrnn.analysis.correlate import correlate
from memrnn.analysis.scores import scores
from memrnn.core.files import load_table, save_table
from memrnn.core.jobs import log_to

log = log_to(snakemake.log[0], "correlate", snakemake.params)
settings = snakemake.params.correlate

table = scores(
    load_table(snakemake.input.extrapolation, "extrapolation"),
    load_table(snakemake.input.nominal, "nominal"),
    snakemake.params.max_delay,
    settings["learned_level"],
)
save_table(snakemake.output.scores, table, "scores")

correlation = correlate(
    load_table(snakemake.input.slow_points, "slow_points"),
    load_table(snakemake.input.spectrum, "spectrum"),
    load_table(snakemake.input.relaxed, "relaxed"),
    table,
    resamples=settings["resamples"],
    confidence=settings["confidence"],
    seed=settings["seed"],
)
save_table(snakemake.output.correlation, correlation, "correlation")
for row in correlation.itertuples():
    log.info(
        "%s %s, %s at %d search steps and %s: rho %.2f [%.2f, %.2f] from %d networks, %d left out",
        *(row.cell, row.curriculum, row.predictor, row.search_steps, row.target, row.rho, row.low, row.high),
        *(row.networks, row.left_out),
    )
