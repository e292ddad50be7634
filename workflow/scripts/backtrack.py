"""Follow the slow points of one block of networks back through training."""

import torch

from memrnn.core.files import save_arrays, save_table
from memrnn.core.jobs import float32_library, log_to, prepare_process
from memrnn.core.tables import label_rows
from memrnn.data.images import load as load_images
from memrnn.dynamics.backtrack import confusions, follow, introductions, load_checkpoints, table
from memrnn.dynamics.points import descend, multiplications, stored
from memrnn.tasks.delayed_classification import mean_input
from memrnn.tasks.protocols import Lesson, schedule
from memrnn.training.engine import device_of

params, task, settings = snakemake.params, snakemake.params.task, snakemake.params.backtrack
cell, protocol = snakemake.wildcards.cell, snakemake.wildcards.protocol
log = log_to(snakemake.log[0], "backtrack", snakemake.params)
prepare_process(snakemake.threads)

device = device_of(params.device)
images = load_images(snakemake.input.images).to(device)
lessons = schedule(
    protocol, params.protocol_settings[protocol], params.steps, Lesson(len(images.classes), task["steps"])
)
checkpoints, meta = load_checkpoints(snakemake.input.checkpoints, cell, lessons, device)
points, _ = stored(snakemake.input.points, settings["start_steps"], meta["seeds"])
points = tuple(part.to(device) for part in points)
library = float32_library(params.float32_library, multiplications(checkpoints[-1].networks, points[0].shape[1]))
log.info("float32 products by %s", library)
budget, rate, drop = settings["search_steps"], params.learning_rate, params.learning_rate_drop


def search(networks, start):
    """Points of the networks of one checkpoint, under the mean input that is theirs."""
    mean = mean_input(networks, images)
    return descend(networks, mean, start, [budget], rate, drop["step"], drop["factor"])[0]


found = follow(checkpoints, points, search)
means = [mean_input(checkpoint.networks, images) for checkpoint in checkpoints]
introduced = introductions(lessons, len(images.classes))
rows = table(checkpoints, found, introduced, means, settings["coincide_distance"], (settings["start_steps"], budget))
for step, group in rows.groupby("step"):
    own = (group.readout == group.label).sum()
    log.info("step %d: median speed %.3g, %d of %d points their own", step, group.speed.median(), own, len(group))
confusion = confusions(checkpoints, images, introduced, task["steps"], task["min_delay"], settings["confusion_trials"])

meta = {**meta, "cell": cell}
# (checkpoints, networks, classes, units)
arrays = {f"points.{part}": torch.stack([state[part] for state in found]) for part in range(len(points))}
save_arrays(snakemake.output.points, arrays, meta)
save_table(snakemake.output.table, label_rows(rows, meta), "backtrack")
save_table(snakemake.output.confusion, label_rows(confusion, meta), "confusion")
