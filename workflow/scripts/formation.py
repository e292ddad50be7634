"""When each class's slow point formed, from which it split, and whether from the one it is confused with."""

from memrnn.analysis.formation import BACKTRACK_COLUMNS, CONFUSION_COLUMNS, confusion_test, form
from memrnn.analysis.scores import SCORE_COLUMNS
from memrnn.core.files import load_table, save_table
from memrnn.core.jobs import log_to

log = log_to(snakemake.log[0], "formation")
confusion = load_table(snakemake.input.confusion, CONFUSION_COLUMNS, may_be_empty=True)

table = form(
    load_table(snakemake.input.backtrack, BACKTRACK_COLUMNS, may_be_empty=True),
    confusion,
    load_table(snakemake.input.scores, SCORE_COLUMNS),
)
save_table(snakemake.output.formation, table)
test = confusion_test(table, confusion, resamples=snakemake.params.resamples, seed=snakemake.params.seed)
save_table(snakemake.output.test, test)

log.info("%d classes of networks followed, %d have a point of their own", len(table), table.appears.notna().sum())
for row in test.itertuples():
    log.info(
        "%s %s: confusion with the parent exceeds the mean by %.3f, p %.4f, from %d classes, %d left out",
        *(row.cell, row.curriculum, row.excess, row.p, row.classes, row.classes_left_out),
    )
