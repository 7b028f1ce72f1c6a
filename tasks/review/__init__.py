"""Reviewing: people look through a night's pictures, accept some and reject others."""
