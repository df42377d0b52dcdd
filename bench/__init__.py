"""The promises of the project in numbers: anyfc beside its peers, in one run."""
