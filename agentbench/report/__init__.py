"""The page of one or several runs: results, learning curves, an episode reader, trajectory graphs; and its export."""

from agentbench.report.data import Report, make_report
from agentbench.report.page import write_page

__all__ = ["Report", "make_report", "write_page"]
