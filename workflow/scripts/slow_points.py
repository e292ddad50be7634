"""Find the slow points of one block of networks, from each class's centroid."""

import torch

from memrnn.core.files import save_arrays, save_table
from memrnn.core.jobs import float32_library, log_to, prepare_process
from memrnn.core.tables import label_rows
from memrnn.data.images import load as load_images
from memrnn.dynamics.points import centroids, find, multiplications
from memrnn.models import networks
from memrnn.tasks.delayed_classification import held_input, mean_input
from memrnn.training.engine import device_of

settings = snakemake.params.slow_points
log = log_to(snakemake.log[0], "slow_points", snakemake.params)
prepare_process(snakemake.threads)

images = load_images(snakemake.input.images)
ensemble, meta = networks.load(snakemake.input.networks)
ensemble = ensemble.to(device_of(snakemake.params.device))
library = float32_library(snakemake.params.float32_library, multiplications(ensemble, len(images.classes)))
log.info("float32 products by %s", library)
start = centroids(ensemble, images, settings["noise_steps"], settings["noise_scale"])
log.info("centroids rest on %d to %d correct trials", start.trials.min(), start.trials.max())
drop = settings["learning_rate_drop"]
found, rows = find(
    ensemble, images, start, settings["search_steps"], settings["learning_rate"], drop["step"], drop["factor"]
)
for budget, group in rows.groupby("search_steps"):
    kept = (group.readout == group.label).sum()
    log.info(
        "%d steps: median speed %.3g, %d of %d points read out as their class",
        budget,
        group.speed.median(),
        kept,
        len(group),
    )

# (networks, inputs): under which the points are slow
arrays = {"held_input": held_input(ensemble, mean_input(ensemble, images)).squeeze(1)}
arrays |= {f"centroid.{part}": values for part, values in enumerate(start.state)}
for part in range(len(start.state)):
    arrays[f"points.{part}"] = torch.stack([state[part] for state in found])  # (budgets, networks, classes, units)
save_arrays(snakemake.output.points, arrays, {**meta, "search_steps": settings["search_steps"]})
save_table(snakemake.output.table, label_rows(rows, meta), "slow_points")
