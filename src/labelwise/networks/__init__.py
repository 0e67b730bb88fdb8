"""Backbones and small networks: features, then a linear head."""
