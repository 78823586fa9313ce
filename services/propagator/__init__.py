"""The push: brings every destination to the desired state of each address."""
