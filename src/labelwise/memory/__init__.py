"""What training remembers: per-example targets and averaged teachers."""
