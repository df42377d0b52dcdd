"""The control API: one module for each resource; changes the store, never a pool."""
