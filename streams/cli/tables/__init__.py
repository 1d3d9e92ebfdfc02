"""`scrutin tables`: the workers' tables, read from their topics in Kafka."""
