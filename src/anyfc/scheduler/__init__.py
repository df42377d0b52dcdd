"""Many instances: who gets which, and how many there are."""
