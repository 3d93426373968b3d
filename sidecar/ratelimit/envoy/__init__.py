"""Rate limits as Envoy asks for them: by the descriptors of a domain, matched against envoyproxy/ratelimit's rules."""
