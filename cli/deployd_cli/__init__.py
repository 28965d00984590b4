"""The `deployd` command: a client of org.deployd1 and nothing else."""
