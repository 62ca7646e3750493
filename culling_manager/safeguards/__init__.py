"""What is asked before something is culled: activity signals, and the admin's hook."""
