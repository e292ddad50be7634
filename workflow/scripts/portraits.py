"""Follow hidden states of the first network of a block through a long delay, along their principal components."""

from memrnn.core.files import save_table
from memrnn.core.jobs import log_to, prepare_process
from memrnn.core.tables import label_rows
from memrnn.data.images import load as load_images
from memrnn.dynamics.points import stored
from memrnn.dynamics.portraits import SHARE, portrait
from memrnn.models import networks
from memrnn.training.engine import device_of

settings = snakemake.params.portraits
log = log_to(snakemake.log[0], "portraits", snakemake.params)
prepare_process(snakemake.threads)

images = load_images(snakemake.input.images)
ensemble, meta = networks.load(snakemake.input.networks)
points, centroids = stored(snakemake.input.points, snakemake.params.search_steps, ensemble.seeds)
ensemble = ensemble.to(device_of(snakemake.params.device))
rows = portrait(ensemble, images, points, centroids, settings["delay"], settings["trials"])
(share,) = rows[rows.what == SHARE].itertuples()
log.info("three components hold %.0f %% of the variance", 100 * (share.pc1 + share.pc2 + share.pc3))
save_table(snakemake.output.table, label_rows(rows, meta), "portraits")
