"""Choosing a catalogue's settings: calibrate a model, predict, measure, choose."""
