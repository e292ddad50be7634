"""Follow hidden states of the first network of a block through a long delay, along their principal components."""

from memrnn import networks, record
from memrnn.engine import device_of
from memrnn.images import load as load_images
from memrnn.portraits import SHARE, portrait
from memrnn.slow_points import stored

settings = snakemake.params.portraits
log = record.log_to(snakemake.log[0], "portraits")
record.prepare_process(snakemake.threads)

images = load_images(snakemake.input.images)
ensemble, meta = networks.load(snakemake.input.networks)
points, centroids = stored(snakemake.input.points, snakemake.params.search_steps, ensemble.seeds)
ensemble = ensemble.to(device_of(snakemake.params.device))
rows = portrait(ensemble, images, points, centroids, settings["delay"], settings["trials"])
(share,) = rows[rows.what == SHARE].itertuples()
log.info("three components hold %.0f %% of the variance", 100 * (share.pc1 + share.pc2 + share.pc3))
record.save_table(snakemake.output.table, record.label_rows(rows, meta))
