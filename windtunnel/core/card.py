"""What the card of an exported model and whoever reads it again agree on."""

MADE = "## How it was made"  # the heading below which the recipe stands
