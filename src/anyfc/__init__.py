"""anyfc runs functions written for Alibaba Cloud Function Compute, unmodified, anywhere."""

__version__ = "0.1.0.dev0"
