"""Scrutin: one streaming topology that counts votes."""
