"""Counts the log again and compares the database, the trees and the signed checkpoints with it."""
