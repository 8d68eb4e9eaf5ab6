"""How the demonstration model is made, from the font to the checkpoint."""
