"""When each class's slow point formed, from which it split, and whether from the one it is confused with."""

from memrnn.analysis.formation import confusion_test, form
from memrnn.core.files import load_table, save_table
from memrnn.core.jobs import log_to

log = log_to(snakemake.log[0], "formation", snakemake.params)
confusion = load_table(snakemake.input.confusion, "confusion")

table = form(
    load_table(snakemake.input.backtrack, "backtrack"), confusion, load_table(snakemake.input.scores, "scores")
)
save_table(snakemake.output.formation, table, "formation")
test = confusion_test(table, confusion, resamples=snakemake.params.resamples, seed=snakemake.params.seed)
save_table(snakemake.output.confusion_test, test, "confusion_test")

log.info("%d classes of networks followed, %d have a point of their own", len(table), table.appears.notna().sum())
for row in test.itertuples():
    log.info(
        "%s %s: confusion with the parent exceeds the mean by %.3f, p %.4f, from %d classes, %d left out",
        *(row.cell, row.curriculum, row.excess, row.p, row.classes, row.classes_left_out),
    )
