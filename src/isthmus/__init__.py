"""Isthmus: a service mesh that spans clusters."""
