"""`scrutin roll`: who may vote."""
