"""Rate limits before the methods of a gRPC server, on an event loop (`grpc.aio`) or a thread pool (`grpc`)."""

from sidecar_client.grpc_server.aio_interceptor import AioRateLimitInterceptor
from sidecar_client.grpc_server.call import GrpcCall
from sidecar_client.grpc_server.interceptor import RateLimitInterceptor

__all__ = ["AioRateLimitInterceptor", "GrpcCall", "RateLimitInterceptor"]
