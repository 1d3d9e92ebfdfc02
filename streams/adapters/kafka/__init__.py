"""Adapter to Kafka, on aiokafka."""
