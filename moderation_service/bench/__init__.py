"""`moderation bench`: owners measure their own fleet (`load`) and card (`engine`), as ratios of one run."""
