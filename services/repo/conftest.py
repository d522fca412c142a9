"""Fixtures of all tests here."""

from repository_machine_test import machine, signing_key

__all__ = ["machine", "signing_key"]
