"""`scrutin election`: parties, regions, elections and candidates, and the count by rounds."""
