"""Writes votes into the input log, for the bridge and the gateway."""
