"""Predictors of memory compared on the same networks, and lifetimes of networks predicted from the others."""

from memrnn.analysis.correlate import panels
from memrnn.analysis.predictors import compare, predict
from memrnn.core.files import load_table, save_table
from memrnn.core.jobs import log_to

log = log_to(snakemake.log[0], "predictors", snakemake.params)
budget, settings = snakemake.params.search_steps, snakemake.params.correlate
tables = (load_table(snakemake.input[name], name) for name in ("slow_points", "spectrum", "relaxed", "scores"))
found = list(panels(*tables))

predictions = predict(found, search_steps=budget, **snakemake.params.delays)
save_table(snakemake.output.predictions, predictions, "predictions")

bootstrap = {key: settings[key] for key in ("resamples", "confidence", "seed")}
table = compare(found, predictions, search_steps=budget, **bootstrap)
save_table(snakemake.output.predictors, table, "predictors")
for row in table[table.target == "lifetime"].itertuples():
    log.info(
        "%s %s, %s at %d search steps: oriented rho with the lifetime %.2f [%.2f, %.2f]; left-out error %.3f, gain on "
        "nominal accuracy %.3f [%.3f, %.3f]; %d networks, %d of %d points censored",
        *(row.cell, row.curriculum, row.predictor, row.search_steps, row.rho, row.low, row.high),
        *(row.error, row.gain, row.gain_low, row.gain_high, row.networks, row.censored, row.points),
    )
