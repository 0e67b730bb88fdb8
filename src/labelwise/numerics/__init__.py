"""Maths that belongs to no one method."""
