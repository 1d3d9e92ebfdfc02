"""Elections beside laws: who stands where, and how ballots become results."""
