"""HTTP on sockets, both directions."""
