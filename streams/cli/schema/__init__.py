"""`scrutin schema`: the wire contracts as AsyncAPI."""
