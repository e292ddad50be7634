"""One trial of the task as the first trained network sees it, as a table."""

from memrnn.core.files import save_table
from memrnn.core.jobs import log_to
from memrnn.core.tables import label_rows
from memrnn.data.images import load as load_images
from memrnn.models import networks
from memrnn.tasks.delayed_classification import example

task = snakemake.params.task
log = log_to(snakemake.log[0], "trials", snakemake.params)

ensemble, meta = networks.load(snakemake.input.networks)
table = example(ensemble, load_images(snakemake.input.images), task["steps"], task["min_delay"])
save_table(snakemake.output.table, label_rows(table, meta), "trial")
log.info("%d rows", len(table))
