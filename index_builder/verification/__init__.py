"""Is an index what it says it is? Every check, in order, none stopped by another; nothing written.

Read `verify.py` for the order of the checks, `findings.py` for what a check has to say.
"""

from index_builder.verification.findings import Check, Report
from index_builder.verification.verify import verify_index

__all__ = ["Check", "Report", "verify_index"]
