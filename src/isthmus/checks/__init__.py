"""`isthmus check`, the pure part: what was read of several clusters in, findings out."""
