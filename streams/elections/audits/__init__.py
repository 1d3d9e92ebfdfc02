"""Risk-limiting audits: which papers to look at, and what risk is left after looking. Pure."""
