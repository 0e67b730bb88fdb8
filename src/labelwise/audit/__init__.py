"""What is wrong with the labels: confident learning and its kin, crowd votes, benchmark stability."""

from labelwise.callable_package import make_callable

make_callable(__name__, "labelwise.audit.audit", "audit")
