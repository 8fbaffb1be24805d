"""Runs side by side: tables, tests, curves and samples in one page. Reads only files, and never imports torch."""

from gan_lab.reporting.command import report_command, write_report

__all__ = ["report_command", "write_report"]
