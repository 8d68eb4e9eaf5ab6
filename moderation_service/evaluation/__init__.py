"""Labelled posts to figures, a report and a calibration."""
