"""`scrutin demo`: a whole vote on this machine."""
