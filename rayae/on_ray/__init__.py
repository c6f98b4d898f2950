"""Home of all that imports ray."""
