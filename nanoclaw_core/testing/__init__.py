"""The test kit: what a plugin author needs to test a plugin in a few lines, and what our own tests are made of."""
