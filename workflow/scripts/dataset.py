"""Rule dataset: read the image source and cache it as one file."""

from memrnn.dataset import build
from memrnn.images import save
from memrnn.record import log_to

log = log_to(snakemake.log[0], "dataset")
image_set = build(snakemake.params.dataset)
save(snakemake.output.images, image_set)
log.info(
    "%s: %d training images (%d per class), %d held-out images, %d classes, shape %s, mean %.4f, std %.4f",
    image_set.name,
    len(image_set.train_labels),
    image_set.counts("train")[0],
    len(image_set.test_labels),
    len(image_set.classes),
    image_set.shape,
    image_set.mean,
    image_set.std,
)
