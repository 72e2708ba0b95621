"""Reading of untrusted files, and replacement of whole directories."""
