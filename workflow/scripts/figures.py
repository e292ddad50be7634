"""Draw one figure from the tables it needs, and write its caption."""

from memrnn.core.files import load_table, write_atomic
from memrnn.core.jobs import log_to
from memrnn.figures import FIGURES
from memrnn.figures.render import caption, draw, save

name, settings = snakemake.wildcards.figure, snakemake.params.settings
logger = log_to(snakemake.log[0], "figures", snakemake.params)

tables = {table: load_table(snakemake.input[table], table) for table in FIGURES[name]}
save(draw(name, tables, settings), snakemake.output.png, snakemake.output.svg, dpi=settings["dpi"])
with write_atomic(snakemake.output.caption) as temporary:
    temporary.write_text(caption(name, tables, settings), encoding="utf-8")
logger.info("%s: drawn from %s", name, ", ".join(f"{table} ({len(rows)} rows)" for table, rows in tables.items()))
