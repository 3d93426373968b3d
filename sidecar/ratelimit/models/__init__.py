"""More of the models that `sidecar.ratelimit.model` opens, an algorithm each, and that of several limits together."""
