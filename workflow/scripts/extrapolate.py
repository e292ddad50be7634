"""Accuracy of one block of networks at delays longer than any in training."""

from memrnn.core.files import save_table
from memrnn.core.jobs import float32_library, log_to, prepare_process
from memrnn.core.tables import label_rows
from memrnn.data.images import load as load_images
from memrnn.dynamics.extrapolate import extrapolate, nominal
from memrnn.models import networks
from memrnn.training.engine import device_of

settings, task = snakemake.params.extrapolate, snakemake.params.task
log = log_to(snakemake.log[0], "extrapolate", snakemake.params)
prepare_process(snakemake.threads)
library = float32_library(snakemake.params.float32_library)
log.info("float32 products by %s", library)

images = load_images(snakemake.input.images)
ensemble, meta = networks.load(snakemake.input.networks)
ensemble = ensemble.to(device_of(snakemake.params.device))
of_task = nominal(ensemble, images, settings["nominal_trials"], task["steps"], task["min_delay"])
log.info("the training task: accuracy %.3f", of_task.accuracy.mean())
save_table(snakemake.output.nominal, label_rows(of_task, meta), "nominal")
rows = extrapolate(ensemble, images, settings["delays"], settings["trials"], task["steps"], task["min_delay"])
for delay, group in rows.groupby("delay"):
    log.info(
        "delay %d: accuracy %.3f, informedness %.3f, false responses %.4f",
        *(delay, group.accuracy.mean(), group.informedness.mean(), group.false_response.mean()),
    )
save_table(snakemake.output.table, label_rows(rows, meta), "extrapolation")
