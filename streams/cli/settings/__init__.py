"""`scrutin settings`: the settings and where each comes from."""
