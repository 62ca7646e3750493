"""What another policy would have done on a recorded history."""
