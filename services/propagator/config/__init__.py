"""The destinations file: read, validate, model."""
