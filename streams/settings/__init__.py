"""Settings: read from the environment at entry points, checked once."""
