"""What the analyses call the files that they leave in a run's folder; whoever only shows them needs no more of them."""

QUALITY_FILE = "quality.csv"
TRUTH_TABLE, TRUTH_SETTINGS, ACTIONS_TABLE = "truth.parquet", "truth.json", "truth-actions.parquet"
