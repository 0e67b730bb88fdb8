"""What a label can be, its checks, and how it goes wrong."""
