"""Faults that are put in on purpose, one at a time: do the tests that stand nearest notice?"""
