"""Files of addresses as people have them: CSV in any encoding, or one address a line."""
