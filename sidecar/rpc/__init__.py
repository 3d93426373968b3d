"""The services: decode, call one domain function, encode. No logic, and no transport."""
