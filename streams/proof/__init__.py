"""The proof of a count: signed notes, checkpoints, receipts and their verification."""
