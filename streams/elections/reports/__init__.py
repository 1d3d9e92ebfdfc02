"""Results in the formats of others: NIST SP 1500-100, rounds like RCTab's, open data."""
