"""What was given back, what is still wasted, which timeout is right: bounds that can be defended, and no estimate.

Everything here follows from lines in a log and from the window that is asked for; no call, no clock.
"""
