"""The encrypted tally: elections whose ballots nobody opens, counted and proved."""
