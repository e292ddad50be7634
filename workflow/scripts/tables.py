"""Join the tables of all blocks into one table of the run."""

import pandas as pd

from memrnn import record

log = record.log_to(snakemake.log[0], "tables")
parts = [record.load_table(path, record.KEYS, may_be_empty=True) for path in snakemake.input.get("parts", [])]
filled = [part for part in parts if len(part)]
# Where no network is followed back through training, or no vocabulary grows, there is nothing to join.
table = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(record.KEYS))
record.save_table(snakemake.output.table, table)
log.info("%d rows from %d files", len(table), len(parts))
