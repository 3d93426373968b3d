"""Rate limits: named policies, each decided by one script in the store; a pure model specifies each script."""
