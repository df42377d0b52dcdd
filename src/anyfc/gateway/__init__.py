"""The data plane: a request becomes an Invocation, a Result becomes a response."""
