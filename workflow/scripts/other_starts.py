"""Find slow points where none of a memory is expected: of untrained networks, and from states of single trials."""

import pandas as pd

from memrnn.core.files import save_table
from memrnn.core.jobs import float32_library, log_to, prepare_process
from memrnn.core.tables import label_rows
from memrnn.data.images import load as load_images
from memrnn.dynamics.points import centroids, find, multiplications, trial_states
from memrnn.models import networks
from memrnn.training.engine import device_of

settings = snakemake.params.slow_points
log = log_to(snakemake.log[0], "other_starts", snakemake.params)
prepare_process(snakemake.threads)

images = load_images(snakemake.input.images)
ensemble, meta = networks.load(snakemake.input.networks)
ensemble = ensemble.to(device_of(snakemake.params.device))
library = float32_library(snakemake.params.float32_library, multiplications(ensemble, len(images.classes)))
log.info("float32 products by %s", library)
units, outputs = ensemble.readout.shape[1:]
new = networks.initial(
    ensemble.cell.name, ensemble.seeds, ensemble.weights.inputs.shape[1], units, outputs, ensemble.front
).to(ensemble.device)
starts = {
    "untrained": (new, centroids(new, images, settings["noise_steps"], settings["noise_scale"])),
    "trial_states": (ensemble, trial_states(ensemble, images, snakemake.params.max_delay)),
}
drop, parts = settings["learning_rate_drop"], []
for name, (searched, start) in starts.items():
    _, rows = find(
        searched, images, start, settings["search_steps"], settings["learning_rate"], drop["step"], drop["factor"]
    )
    log.info(
        "%s: median speed %.3g, %d of %d points read out as their class",
        *(name, rows.speed.median(), (rows.readout == rows.label).sum(), len(rows)),
    )
    parts.append(rows.assign(phase=name))
save_table(snakemake.output.table, label_rows(pd.concat(parts, ignore_index=True), meta), "other_starts")
