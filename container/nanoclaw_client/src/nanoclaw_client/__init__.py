"""The client side of `ncl`, shared by host and sandbox. Every command waits for this import, so keep it light."""
