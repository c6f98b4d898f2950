"""Home of the job functions: one verb a file, each a function of its settings."""
