"""What is kept of the episodes that were played, and the step table that is made of them."""
