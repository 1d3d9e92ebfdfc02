"""`scrutin audit`: risk-limiting audits on paper."""
