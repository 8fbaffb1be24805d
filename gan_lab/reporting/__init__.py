"""Compare runs: tables, tests, curves and samples in one page. Reads only files, and never imports torch."""

from gan_lab.reporting.write import write_report

__all__ = ["write_report"]
