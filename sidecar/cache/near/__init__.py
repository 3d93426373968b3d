"""The near cache: copies of entries in the process, kept coherent by the store's own invalidations."""
