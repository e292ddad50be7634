"""Accuracy of one block of networks at delays longer than any in training."""

from memrnn import networks, record
from memrnn.engine import device_of
from memrnn.extrapolate import extrapolate
from memrnn.images import load as load_images

settings, task = snakemake.params.extrapolate, snakemake.params.task
log = record.log_to(snakemake.log[0], "extrapolate")
record.prepare_process(snakemake.threads)

images = load_images(snakemake.input.images)
ensemble, meta = networks.load(snakemake.input.networks)
ensemble = ensemble.to(device_of(snakemake.params.device))
rows = extrapolate(ensemble, images, settings["delays"], settings["trials"], task["steps"], task["min_delay"])
for delay, group in rows.groupby("delay"):
    log.info("delay %d: accuracy %.3f, false responses %.4f", delay, group.accuracy.mean(), group.false_response.mean())
record.save_table(snakemake.output.table, record.label_rows(rows, meta))
