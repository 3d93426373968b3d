"""What happens to every call, whatever its method: telemetry, errors, shedding. Composed once, at start-up."""
