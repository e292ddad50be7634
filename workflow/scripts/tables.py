"""Join the tables of all blocks into one table of the run."""

import pandas as pd

from memrnn import record

log = record.log_to(snakemake.log[0], "tables")
table = pd.concat([record.load_table(path, record.KEYS) for path in snakemake.input.parts], ignore_index=True)
record.save_table(snakemake.output.table, table)
log.info("%d rows from %d files", len(table), len(snakemake.input.parts))
