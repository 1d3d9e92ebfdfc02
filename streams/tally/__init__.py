"""The encrypted tally: counts elections without decrypting ballots, with proofs."""
