"""A machine of the lab that is no node of any cluster: a process tree in a network namespace of its own."""
