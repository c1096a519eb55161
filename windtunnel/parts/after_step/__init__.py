"""What happens to weights or moments after an optimizer step."""
