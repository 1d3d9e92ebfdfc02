"""Maps of an election's regions."""
