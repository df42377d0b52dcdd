"""What survives a restart: the database, the code, and the view that the data plane reads."""
