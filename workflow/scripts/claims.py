"""Verdicts on the paper's claims, and the run's headline numbers."""

from memrnn.analysis.claims import Evidence, judge, numbers, summary
from memrnn.core.files import load_table, save_json, save_table
from memrnn.core.jobs import log_to

log = log_to(snakemake.log[0], "claims", snakemake.params)
tables = {
    name: load_table(snakemake.input[name], name)
    for name in ("scores", "correlation", "slow_points", "other_starts", "relaxed", "formation", "confusion_test")
}

evidence = Evidence(tables, **snakemake.params.settings)
claims = judge(evidence)
save_table(snakemake.output.claims, claims, "claims")
save_json(snakemake.output.numbers, numbers(claims, evidence))
log.info("\n%s", summary(claims))
