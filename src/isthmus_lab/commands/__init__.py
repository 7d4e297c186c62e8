"""What stands behind `isthmus lab …`: finding labs, asking their parts, showing answers."""
