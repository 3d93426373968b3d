"""The way to Redis: keys, commands, scripts, connections. Nothing outside this package speaks its protocol."""
