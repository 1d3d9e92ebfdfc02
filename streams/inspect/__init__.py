"""Looking at a running deployment without disturbing it: no group, no commits, no writes."""
