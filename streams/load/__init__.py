"""Real input and its proof: a seeded election, its publisher, and what must come of it."""
