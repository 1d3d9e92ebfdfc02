"""Records of ElectionGuard 2: reads and verifies them, writes none."""
