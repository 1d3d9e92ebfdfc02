"""The worker process: validation, aggregation, the voted table and the PostgreSQL sink."""
