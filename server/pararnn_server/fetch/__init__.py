"""Models that are fetched once: the table, the download, the folder."""
