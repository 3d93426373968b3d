"""Rate limits before the routes of an ASGI application: Starlette, FastAPI, Quart, or none of them."""

from sidecar_client.asgi.middleware import RateLimitMiddleware
from sidecar_client.asgi.request import BodyTooLargeError, HttpRequest, address_key

__all__ = ["BodyTooLargeError", "HttpRequest", "RateLimitMiddleware", "address_key"]
