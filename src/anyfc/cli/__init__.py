"""The command line: parse, one call to the client, print, exit code."""
