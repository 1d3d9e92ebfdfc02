"""The operators' console: charts, rejected votes, contests and the trail, behind a login."""
