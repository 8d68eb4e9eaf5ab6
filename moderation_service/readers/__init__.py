"""Readers of the files that commands are given: JSON lines, CSV sheets, and folders of images with texts."""
