"""Say what kind of points the slow points of one block of networks are."""

from memrnn import networks, record
from memrnn.engine import device_of
from memrnn.images import load as load_images
from memrnn.slow_points import stored
from memrnn.spectrum import examine

settings = snakemake.params.spectrum
log = record.log_to(snakemake.log[0], "spectrum")
record.prepare_process(snakemake.threads)

images = load_images(snakemake.input.images)
ensemble, meta = networks.load(snakemake.input.networks)
points, centroids = stored(snakemake.input.points, settings["search_steps"], ensemble.seeds)
ensemble = ensemble.to(device_of(snakemake.params.device))
rows = examine(ensemble, images, points, centroids, **settings)
for (kind, reason), group in rows.groupby(["kind", "kind_reason"]):
    log.info(
        "%s (%s): %d of %d points, median of the leading modulus %.4f",
        *(kind, reason, len(group), len(rows), group.leading_modulus.median()),
    )
record.save_table(snakemake.output.table, record.label_rows(rows, meta))
