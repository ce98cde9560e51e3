"""What agents asked for and a human decides: listing, answering, carrying out once, expiring."""
