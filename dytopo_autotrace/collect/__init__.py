"""Makes records of what happened; knows no file and no network."""
