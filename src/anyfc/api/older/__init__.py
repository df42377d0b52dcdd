"""The API before 3.0: services, and what is made in them."""
