"""Several workers behind one address: what starts, watches, restarts and stops them. It takes no calls itself."""
