"""Fixtures of all tests here."""

from client_test import address
from repository_machine_test import machine, signing_key

__all__ = ["address", "machine", "signing_key"]
