"""Load generator: a seeded election, its publisher, and the check of the outcome."""
