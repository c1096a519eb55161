"""What parts for images share."""
