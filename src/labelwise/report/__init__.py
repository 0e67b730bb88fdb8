"""The report: everything a run found, on one page that needs nothing but a browser."""

from labelwise.report.findings import (
    AuditFindings,
    CheckFindings,
    Findings,
    Intervals,
    LearnFindings,
    MeasuredOn,
    PredictionSets,
    RejectedRow,
    ReliabilityBins,
    Scatter,
    SuspectCard,
    Table,
    TrainingRun,
    TrustFindings,
)
from labelwise.report.page import write_report

__all__ = [
    "AuditFindings",
    "CheckFindings",
    "Findings",
    "Intervals",
    "LearnFindings",
    "MeasuredOn",
    "PredictionSets",
    "RejectedRow",
    "ReliabilityBins",
    "Scatter",
    "SuspectCard",
    "Table",
    "TrainingRun",
    "TrustFindings",
    "write_report",
]
