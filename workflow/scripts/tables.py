"""Join the tables of all blocks into one table of the run."""

import pandas as pd

from memrnn.core.files import load_table, save_table
from memrnn.core.jobs import log_to
from memrnn.core.tables import columns_of

log = log_to(snakemake.log[0], "tables", snakemake.params)
name = snakemake.wildcards.table
parts = [load_table(path, name) for path in snakemake.input.get("parts", [])]
filled = [part for part in parts if len(part)]
# Where no network is followed back through training, or no vocabulary grows, there is nothing to join.
table = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns_of(name))
save_table(snakemake.output.table, table, name)
log.info("%d rows from %d files", len(table), len(parts))
