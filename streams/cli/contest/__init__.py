"""`scrutin contest`: define, open, extend and close contests."""
