"""The run as one page."""

from pathlib import Path

from memrnn.core.files import load_json, load_table, write_atomic
from memrnn.core.jobs import log_to
from memrnn.run.report import page, picture

log = log_to(snakemake.log[0], "report")
found, params = snakemake.input, snakemake.params
text = page(
    Path(found.template).read_text(encoding="utf-8"),
    load_table(found.claims, "claims"),
    load_json(found.numbers),
    [picture(*files) for files in zip(found.png, found.svg, found.captions, strict=True)],
    load_json(found.provenance),
    params.defaults,
    params.left_out,
)
with write_atomic(snakemake.output.report) as temporary:
    temporary.write_text(text, encoding="utf-8")
log.info("%d figures, %.1f MB", len(found.png), len(text) / 1e6)
