"""Records leave the process while it runs: to files, to a collector, to whoever scrapes."""
