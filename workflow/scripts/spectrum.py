"""Say what kind of points the slow points of one block of networks are."""

from memrnn.core.files import save_table
from memrnn.core.jobs import log_to, prepare_process
from memrnn.core.tables import label_rows
from memrnn.data.images import load as load_images
from memrnn.dynamics.points import stored
from memrnn.dynamics.relax import relaxed
from memrnn.dynamics.spectrum import examine
from memrnn.models import networks
from memrnn.training.engine import device_of

settings = dict(snakemake.params.spectrum)
times = settings.pop("relaxed_times")
log = log_to(snakemake.log[0], "spectrum", snakemake.params)
prepare_process(snakemake.threads)

images = load_images(snakemake.input.images)
ensemble, meta = networks.load(snakemake.input.networks)
points, centroids = stored(snakemake.input.points, settings["search_steps"], ensemble.seeds)
ensemble = ensemble.to(device_of(snakemake.params.device))
slow = relaxed(ensemble, images, centroids, times)
for time, group in slow.groupby("time"):
    log.info(
        "relaxed %d steps: median speed %.4g, %d of %d points read out as their class",
        *(time, group.speed.median(), (group.readout == group.label).sum(), len(group)),
    )
save_table(snakemake.output.relaxed, label_rows(slow, meta), "relaxed")
rows = examine(ensemble, images, points, centroids, **settings)
for (kind, reason), group in rows.groupby(["kind", "kind_reason"]):
    log.info(
        "%s (%s): %d of %d points, median of the leading modulus %.4f",
        *(kind, reason, len(group), len(rows), group.leading_modulus.median()),
    )
save_table(snakemake.output.table, label_rows(rows, meta), "spectrum")
