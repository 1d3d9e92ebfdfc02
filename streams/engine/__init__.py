"""What Scrutin adds to Faust: consumer, recovery, assignment, batching, worker host."""
