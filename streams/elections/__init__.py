"""Elections of candidates: definitions, counting and results."""
