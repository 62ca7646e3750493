"""The check of a whole account: for whom it is not running."""
