"""A first look: three small functions, deployed and invoked on a server of their own."""
