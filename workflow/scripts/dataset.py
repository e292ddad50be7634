"""Rule dataset: read the image source and cache it as one file."""

from memrnn.core.jobs import log_to
from memrnn.data.dataset import build
from memrnn.data.images import save

log = log_to(snakemake.log[0], "dataset", snakemake.params)
image_set = build(snakemake.params.dataset)
save(snakemake.output.images, image_set)
log.info(
    "%s: %d training images (%d per class), %d held-out images, %d classes, shape %s, mean %.4f, std %.4f; "
    "a growing vocabulary takes them in this order: %s",
    image_set.name,
    len(image_set.train_labels),
    image_set.counts("train")[0],
    len(image_set.test_labels),
    len(image_set.classes),
    image_set.shape,
    image_set.mean,
    image_set.std,
    ", ".join(image_set.classes),
)
