"""Floor 3: one function per kind turns what an API server holds into rows and problems. Pure."""
