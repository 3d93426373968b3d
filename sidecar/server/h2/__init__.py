"""HTTP/2 and gRPC as a protocol without I/O: bytes in, events out; answers in, bytes out. No socket, clock or loop."""
