"""The rights of a person (GDPR, chapter III): requests with their due dates, access, and who did what about them."""
