"""What everything else stands on: errors, settings, parts, and how a part is found."""
