"""One trial of the task as the first trained network sees it, as a table."""

from memrnn import networks, record
from memrnn.images import load as load_images
from memrnn.trials import example

task = snakemake.params.task
log = record.log_to(snakemake.log[0], "trials")

ensemble, meta = networks.load(snakemake.input.networks)
table = example(ensemble, load_images(snakemake.input.images), task["steps"], task["min_delay"])
record.save_table(snakemake.output.table, record.label_rows(table, meta))
log.info("%d rows", len(table))
