"""The settings of the graph, where its callers look for them."""

from isthmus.model.settings import MeshSettings

__all__ = ["MeshSettings"]
