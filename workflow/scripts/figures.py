"""Draw one figure from the tables it needs."""

from memrnn.core.files import load_table
from memrnn.core.jobs import log_to
from memrnn.figures import COLUMNS, MAY_BE_EMPTY, draw, save, tables_for

name = snakemake.wildcards.figure
logger = log_to(snakemake.log[0], "figures")

tables = {
    table: load_table(snakemake.input[table], COLUMNS[table], may_be_empty=table in MAY_BE_EMPTY)
    for table in tables_for(name)
}
figure = draw(name, tables, snakemake.params.style, snakemake.params.settings)
save(figure, snakemake.output.png, snakemake.output.svg, dpi=snakemake.params.style["dpi"])
logger.info("%s: drawn from %s", name, ", ".join(f"{table} ({len(rows)} rows)" for table, rows in tables.items()))
