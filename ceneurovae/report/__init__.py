"""What a run shows of itself: one HTML page that needs no network."""
