"""What parts for tables, rows and graphs share."""
