"""The fast engine's side of the event loop: sockets and calls around the protocol in `server/h2`."""
