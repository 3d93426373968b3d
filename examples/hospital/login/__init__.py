"""The hospital's login: an HTTP service behind the sidecar's rate limits, by caller and by account."""
